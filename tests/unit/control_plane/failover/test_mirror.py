"""A mirror at a real server core, without sockets: what it has is what the server serves."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from control_plane.compile.model import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    PLAN,
    ROUTE,
    Compiled,
    XdsResource,
)
from control_plane.failover._mirror import Mirror, kept
from control_plane.xds.core import Core
from control_plane.xds.messages import read, require_node, write
from control_plane.xds.stream import Stream
from ext_proc.errors import SnapshotRefused
from tests.unit.control_plane.xds._clients import EnvoyClient, proxies, resource


class Link:
    """One connection of a mirror to a core."""

    def __init__(self, core: Core, mirror: Mirror) -> None:
        self.core, self.mirror, self.sent = core, mirror, 0
        requests = [read("delta", each.SerializeToString()) for each in mirror.connected()]
        self.number = core.join(Stream(require_node(requests[0]), "delta", lambda: None))
        for request in requests:
            core.request(self.number, request.type_url, request.body, 0)

    def drain(self) -> None:
        while (response := self.core.next(self.number)) is not None:
            self.sent += len(response.resources)
            message = DeltaDiscoveryResponse.FromString(write("delta", response))
            answer = read("delta", self.mirror.receive(message).SerializeToString())
            self.core.request(self.number, answer.type_url, answer.body, 0)

    def cut(self) -> None:
        self.mirror.ended()
        self.core.leave(self.number, 0)


def core_with(*wirings: str, revision: int = 1) -> Core:
    core = Core(linger=0, patience=10)
    core.set_target(proxies(revision, *wirings), 0)
    return core


def content(compiled: Compiled) -> dict[str, Mapping[str, XdsResource]]:
    return {url: table for url, table in compiled.resources.items() if url != PLAN}


def test_it_has_all_that_an_envoy_needs_and_no_plans() -> None:
    mirror = Mirror("failover")
    Link(core_with("a", "b"), mirror).drain()
    assert mirror.whole
    assert content(mirror.compiled(1)) == content(proxies(1, "a", "b"))
    assert PLAN not in mirror.compiled(1).resources


def test_the_endpoints_of_workers_are_not_kept() -> None:
    core, served = Core(linger=0, patience=10), proxies(1, "a")
    workers = resource(ENDPOINT, "ext_proc@gateway")
    endpoints = {**served.resources[ENDPOINT], workers.name: workers}
    core.set_target(Compiled(1, {**served.resources, ENDPOINT: endpoints}), 0)
    mirror = Mirror("failover")
    Link(core, mirror).drain()
    assert content(mirror.compiled(1)) == content(served)


def test_it_is_not_whole_before_the_listeners_have_come() -> None:
    mirror = Mirror("failover")
    link = Link(core_with("a"), mirror)
    response = link.core.next(link.number)
    assert response is not None
    mirror.receive(DeltaDiscoveryResponse.FromString(write("delta", response)))
    assert not mirror.whole


def test_changes_come_and_what_is_gone_goes() -> None:
    mirror, core = Mirror("failover"), core_with("a", "b")
    link = Link(core, mirror)
    link.drain()
    seen = mirror.changes
    core.set_target(proxies(2, "b", "c"), 0)
    link.drain()
    assert mirror.changes > seen
    assert content(mirror.compiled(2)) == content(proxies(2, "b", "c"))


def test_after_a_break_only_changes_come_and_it_knows_when_that_is_all() -> None:
    mirror, core = Mirror("failover"), core_with("a", "b")
    link = Link(core, mirror)
    link.drain()
    link.cut()
    assert not mirror.whole
    seen = mirror.changes
    again = Link(core, mirror)
    again.drain()
    assert mirror.whole
    assert (again.sent, mirror.changes) == (1, seen)  # the listener, to say so


def test_what_went_while_it_was_away_goes() -> None:
    mirror = Mirror("failover")
    Link(core_with("a", "b"), mirror).drain()
    mirror.ended()
    Link(core_with("b", revision=2), mirror).drain()
    assert content(mirror.compiled(2)) == content(proxies(2, "b"))


def test_a_listener_that_went_while_it_was_away_goes() -> None:
    mirror = Mirror("failover")
    Link(core_with("a"), mirror).drain()
    old = kept(mirror.compiled(1))
    extra = [(url, [*found, ("old", "1", b"")] if url == LISTENER else found) for url, found in old]
    fresh = Mirror("failover")
    fresh.restore(extra)
    Link(core_with("a"), fresh).drain()
    assert content(fresh.compiled(2)) == content(proxies(2, "a"))


def test_what_is_kept_is_restored() -> None:
    mirror = Mirror("failover")
    Link(core_with("a"), mirror).drain()
    other = Mirror("failover")
    other.restore(kept(mirror.compiled(1)))
    assert content(other.compiled(1)) == content(mirror.compiled(1))
    again = Link(core_with("a"), other)
    again.drain()
    assert again.sent == 1


@pytest.mark.parametrize("types", [[], [LISTENER], [LISTENER, ROUTE, PLAN]])
def test_what_is_not_an_envoys_is_refused(types: list[str]) -> None:
    with pytest.raises(SnapshotRefused):
        Mirror("failover").restore([(url, []) for url in types])


def test_nobody_waits_for_it_and_it_is_no_node() -> None:
    core = core_with("a")
    envoy = EnvoyClient(core, "envoy", "delta")
    envoy.drain()
    link = Link(core, Mirror("failover"))  # never answers
    core.set_target(proxies(2, "b"), 0)
    envoy.drain()
    assert core.ledger.status(2).state == "applied"
    assert [node.id for node in core.ledger.nodes()] == ["envoy"]
    assert envoy.names(CLUSTER) == {"b"}
    link.cut()
    assert [node.id for node in core.ledger.nodes()] == ["envoy"]


def test_one_alone_applies_nothing() -> None:
    core = core_with("a")
    Link(core, Mirror("failover")).drain()
    assert core.ledger.status(1).state == "pending"
