"""One stream: the order of sending. Section "Eventual consistency considerations"."""

from __future__ import annotations

import pytest

from control_plane.compile.model import CLUSTER, ENDPOINT, LISTENER, PLAN, ROUTE, SECRET
from control_plane.xds.core import Core
from control_plane.xds.delta import DeltaRequest
from control_plane.xds.errors import TooMuch
from control_plane.xds.serving import in_send_order
from control_plane.xds.sotw import SotwRequest
from control_plane.xds.stream import MAX_TYPES, Node, Stream
from tests.unit.control_plane.xds._clients import EnvoyClient, proxies, resource, target

EVERYTHING = DeltaRequest(subscribe=frozenset("*"))


def test_the_order_of_the_types() -> None:
    types = [ROUTE, "x.Unknown", LISTENER, PLAN, SECRET, ENDPOINT, CLUSTER]
    assert in_send_order(types) == [CLUSTER, ENDPOINT, SECRET, PLAN, "x.Unknown", LISTENER, ROUTE]


def open_stream(core: Core, *types: str) -> int:
    number = core.join(Stream(Node("n"), "delta", lambda: None))
    for type_url in types:
        core.request(number, type_url, EVERYTHING, 0)
    return number


def sent(core: Core, number: int) -> list[tuple[str, str]]:
    """The types and nonces of what is sent now."""
    responses = iter(lambda: core.next(number), None)
    return [(r.type_url.rpartition(".")[2], r.nonce) for r in responses]


def ack(core: Core, number: int, type_url: str, nonce: str) -> None:
    core.request(number, type_url, DeltaRequest(nonce=nonce), 0)


def test_routes_wait_until_the_client_has_answered_the_rest() -> None:
    core = Core(linger=0, patience=10)
    core.set_target(proxies(1, "a"), 0)
    number = open_stream(core, ROUTE, LISTENER, CLUSTER, PLAN)
    assert sent(core, number) == [("Cluster", "1"), ("Plan", "2")]
    ack(core, number, CLUSTER, "1")
    assert sent(core, number) == []
    ack(core, number, PLAN, "2")
    assert sent(core, number) == [("Listener", "3"), ("RouteConfiguration", "4")]


def test_what_is_gone_goes_last() -> None:
    """Even for a client that comes back after all other clients have moved on."""
    core = Core(linger=0, patience=10)
    envoy = EnvoyClient(core, "e", "delta")
    core.set_target(proxies(1, "old"), 0)
    envoy.drain()
    envoy.leave()
    core.set_target(proxies(2, "new"), 0)
    core.set_target(proxies(3, "newer"), 0)
    envoy.join()
    seen = []
    while envoy.deliver() or envoy.inbox:
        response = envoy.answer()
        if response.type_url in (CLUSTER, ROUTE):
            seen += [f"+{r.name}" for r in response.resources]
            seen += [f"-{name}" for name in response.removed]
    assert seen == ["+newer", "+routes", "-old"]


def test_types_are_bounded() -> None:
    core = Core(linger=0, patience=10)
    number = open_stream(core, *(f"x.T{i}" for i in range(MAX_TYPES)))
    with pytest.raises(TooMuch):
        core.request(number, "x.One.more", EVERYTHING, 0)


def test_a_request_of_the_other_variant_is_our_own_fault() -> None:
    core = Core(linger=0, patience=10)
    with pytest.raises(TypeError):
        core.request(open_stream(core), CLUSTER, SotwRequest(), 0)


def test_any_type_can_be_served() -> None:
    """One that is not ours is empty as soon as anything is served, and may come at any time."""
    core = Core(linger=0, patience=10)
    number = open_stream(core, "x.Later")
    assert sent(core, number) == []
    core.set_target(target(1, resource(CLUSTER, "a")), 0)
    core.request(number, CLUSTER, EVERYTHING, 0)
    assert sent(core, number) == [("Cluster", "1"), ("Later", "2")]
    ack(core, number, CLUSTER, "1")
    ack(core, number, "x.Later", "2")
    core.set_target(target(2, resource("x.Later", "a")), 0)
    assert sent(core, number) == [("Later", "3")]
