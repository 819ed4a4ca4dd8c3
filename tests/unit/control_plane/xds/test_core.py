"""Streams, switch and ledger together: a NACK that comes late.

Section "ACK/NACK and resource type instance version" of the xDS document.
"""

from __future__ import annotations

from control_plane.compile.model import CLUSTER, ROUTE
from control_plane.xds.core import Core
from tests.unit.control_plane.xds._clients import ROUTES, EnvoyClient, proxies


def refusing_late() -> tuple[Core, EnvoyClient]:
    """Revision 2 is bad, and was sent to an Envoy that did not answer until patience was over."""
    core = Core(linger=0, patience=10)
    envoy = EnvoyClient(core, "envoy", "delta")
    core.set_target(proxies(1, "a"), 0)
    envoy.drain()
    core.set_target(proxies(2, "a", "b", bad=["b"]), 0)
    envoy.deliver()
    core.tick(10)
    assert core.serving.revision == 2
    envoy.now = 10
    return core, envoy


def test_it_counts_against_a_revision_that_still_has_the_fault() -> None:
    core, envoy = refusing_late()
    core.set_target(proxies(3, "a", "b", bad=["b"], edit="more"), 10)
    envoy.drain()
    assert core.ledger.status(3).state == "rejected"
    assert core.ledger.status(3).nodes["envoy"].detail == "b is bad"
    assert core.serving.tables[ROUTE].resources[ROUTES].body == b"a"
    assert envoy.names(CLUSTER) == {"a"}


def test_it_does_not_count_against_a_revision_that_has_mended_it() -> None:
    core, envoy = refusing_late()
    core.set_target(proxies(3, "a", "c"), 10)
    envoy.drain()
    assert core.ledger.status(3).state == "applied"
    assert core.ledger.status(2).nodes["envoy"].detail == "b is bad"
    assert envoy.names(CLUSTER) == {"a", "c"}


def test_it_sends_everybody_back_if_there_is_nothing_newer() -> None:
    core, envoy = refusing_late()
    envoy.drain()
    assert core.ledger.status(2).state == "rejected"
    assert core.serving.revision == 1
    assert envoy.names(CLUSTER) == {"a"}
    assert envoy.bodies(ROUTE) == {ROUTES: "a"}


class StartingEnvoy(EnvoyClient):
    """An Envoy that has asked for its clusters, and for nothing else yet."""

    def begin(self) -> None:
        self.ask(CLUSTER, "*")

    def learn(self, type_url: str) -> None:
        """It never comes to its listener."""


def test_an_envoy_that_has_only_its_clusters_has_not_applied_anything() -> None:
    """It has no listener yet: whoever waits for the revision must not be told that it is live."""
    core = Core(linger=0, patience=10)
    starting = StartingEnvoy(core, "envoy", "delta")
    core.set_target(proxies(1, "a"), 0)
    starting.drain()
    assert starting.names(CLUSTER) == {"a"}
    assert core.ledger.status(1).state == "pending"
