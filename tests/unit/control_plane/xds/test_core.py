"""Streams, switch and ledger together: a NACK that comes late.

Section "ACK/NACK and resource type instance version" of the xDS document.
"""

from __future__ import annotations

import pytest

from control_plane.compile.model import CLUSTER, ROUTE, SECRET
from control_plane.xds.core import Core
from control_plane.xds.delta import DeltaRequest, DeltaSubscription
from control_plane.xds.serving import Stamp, Table
from control_plane.xds.subscription import _is_in
from control_plane.xds.switch import Refusal
from tests.unit.control_plane.xds._clients import ROUTES, EnvoyClient, proxies, resource


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


@pytest.mark.parametrize("examined", [True, False])
def test_what_was_to_come_next_is_dropped_if_somebody_makes_another(examined: bool) -> None:
    """It was made before anybody knew of the refusal, and has the same fault."""
    refusals: list[Refusal] = []

    def refused(refusal: Refusal) -> bool:
        refusals.append(refusal)
        return examined

    core = Core(linger=0, patience=10, on_refused=refused)
    envoy = EnvoyClient(core, "envoy", "delta")
    core.set_target(proxies(1, "a"), 0)
    envoy.drain()
    core.set_target(proxies(2, "a", "b", bad=["b"]), 0)
    core.set_target(proxies(3, "a", "b", "c", bad=["b"]), 0)
    envoy.drain()
    assert [refusal.target.revision for refusal in refusals] == ([2] if examined else [2, 3])
    assert refusals[0].named == ("b",)
    assert set(refusals[0].names) >= {"b"}
    assert core.last_good is not None
    assert core.last_good.revision == 1


def test_of_a_refused_secret_the_name_is_known_and_the_words_are_not() -> None:
    subscription = DeltaSubscription(SECRET)
    table = Table({"key#1": resource(SECRET, "key#1")})
    subscription.request(DeltaRequest(frozenset("*")), table)
    response = subscription.next(table, Stamp(1, 1), "n", removals=False)
    assert response is not None
    answer = subscription.request(DeltaRequest(nonce="n", error="key#1: hunter2"), table)
    assert answer is not None
    assert answer.named == ("key#1",)
    assert "hunter2" not in answer.error


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("cluster key#1 is bad", ["key#1"]),
        ("cluster my-key#1 is bad", ["my-key#1"]),
        ("my-key#1, key#1: bad", ["key#1", "my-key#1"]),
        ("key#12 is bad", []),
        ("key#1", ["key#1"]),
        ("nothing is named", []),
    ],
)
def test_words_name_what_they_hold_as_a_whole(words: str, named: list[str]) -> None:
    assert [name for name in ("key#1", "my-key#1") if _is_in(name, words)] == named
