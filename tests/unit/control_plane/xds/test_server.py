"""The gRPC service and the hub around it, with clients that behave badly on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2 as pb

import control_plane.xds
from control_plane.compile.model import PLAN, Compiled
from control_plane.xds import SERVER_OPTIONS, Hub
from control_plane.xds.server import METHODS, SERVICE
from tests.unit.control_plane.xds._clients import resource, target

pytestmark = pytest.mark.anyio
TIMEOUT = 10.0
Call = Any  # grpc.aio's stream-stream call, bytes both ways


class Site:
    """A hub that is served, and calls to it."""

    def __init__(self, hub: Hub, channel: grpc.aio.Channel) -> None:
        self.hub, self._channel = hub, channel

    def call(self, method: str = "DeltaAggregatedResources") -> Call:
        return self._channel.stream_stream(f"/{SERVICE}/{method}")()

    async def subscribe(self, node: str) -> Call:
        call, message = self.call(), pb.DeltaDiscoveryRequest(type_url=PLAN)
        message.node.id = node
        message.resource_names_subscribe.append("*")
        await call.write(message.SerializeToString())
        return call


@pytest.fixture(scope="session")
async def one_loop() -> AsyncIterator[None]:
    """Keeps the event loop for all tests: grpcio tells the end of a cancelled call a moment later."""
    yield  # noqa: PT022 - a `return` would let go of the loop


@pytest.fixture
async def site(one_loop: None) -> AsyncIterator[Site]:
    hub, server = Hub(linger=0.05, patience=0.3), grpc.aio.server(options=SERVER_OPTIONS)
    hub.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = (("grpc.max_receive_message_length", -1),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield Site(hub, channel)
    await server.stop(None)


async def receive(call: Call) -> pb.DeltaDiscoveryResponse:
    async with asyncio.timeout(TIMEOUT):
        data = await call.read()
    assert isinstance(data, bytes), await call.details()
    return pb.DeltaDiscoveryResponse.FromString(data)


async def ack(call: Call, response: pb.DeltaDiscoveryResponse, error: str = "") -> None:
    message = pb.DeltaDiscoveryRequest(type_url=PLAN, response_nonce=response.nonce)
    if error:
        message.error_detail.message = error
    await call.write(message.SerializeToString())


def plans(revision: int, **bodies: str) -> Compiled:
    return target(revision, *(resource(PLAN, name, body) for name, body in bodies.items()))


async def test_a_target_reaches_a_client_and_is_acknowledged(site: Site) -> None:
    call = await site.subscribe("w")
    site.hub.set_target(plans(1, a="1", b="1"))
    first = await receive(call)
    assert [r.name for r in first.resources] == ["a", "b"]
    await ack(call, first)
    assert (await site.hub.wait(1, TIMEOUT)).state == "applied"
    site.hub.set_target(plans(2, a="2", b="1"))
    second = await receive(call)
    assert [(r.name, r.resource.value) for r in second.resources] == [("a", b"2")]
    assert (await site.hub.wait(2, 0.0)).state == "pending"
    await ack(call, second)
    assert (await site.hub.wait(2, TIMEOUT)).state == "applied"


async def test_what_nobody_names_goes_by_itself(site: Site) -> None:
    call = await site.subscribe("w")
    site.hub.set_target(plans(1, a="1", b="1"))
    await ack(call, await receive(call))
    await site.hub.wait(1, TIMEOUT)
    site.hub.set_target(plans(2, a="1"))
    gone = await receive(call)
    assert (list(gone.removed_resources), list(gone.resources)) == (["b"], [])


async def test_a_refusal_is_waited_for_too(site: Site) -> None:
    call = await site.subscribe("w")
    site.hub.set_target(plans(1, a="1"))
    await ack(call, await receive(call), error="I cannot read this")
    status = await site.hub.wait(1, TIMEOUT)
    assert (status.state, status.nodes["w"].detail) == ("rejected", "I cannot read this")


async def test_a_silent_client_does_not_hold_up_the_others(site: Site) -> None:
    silent, awake = await site.subscribe("silent"), await site.subscribe("awake")
    site.hub.set_target(plans(1, a="1"))
    await receive(silent)
    for revision in (2, 3):
        await ack(awake, await receive(awake))
        site.hub.set_target(plans(revision, a=str(revision)))
    last = await receive(awake)
    assert last.resources[0].resource.value == b"3"
    await ack(awake, last)
    async with asyncio.timeout(TIMEOUT):
        while (status := site.hub.ledger.status(3)).nodes["awake"].state != "applied":
            await site.hub.wait(3, 0.01)
    assert status.nodes["silent"].detail == "does not answer: waiting for Plan"
    assert status.state == "pending"


async def test_a_client_that_does_not_read_costs_no_memory(site: Site) -> None:
    """One response is out, however often the target changes and however big it is."""
    deaf = await site.subscribe("deaf")
    site.hub.set_target(plans(1, a="x" * 1_000_000))
    assert len((await receive(deaf)).resources) == 1
    awake = await site.subscribe("awake")
    for revision in range(2, 30):
        site.hub.set_target(plans(revision, a=f"{revision}" * 500_000))
    first = await receive(awake)
    assert first.resources[0].name == "a"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await deaf.read()


NO_NODE = {
    "StreamAggregatedResources": pb.DiscoveryRequest(type_url=PLAN).SerializeToString(),
    "DeltaAggregatedResources": pb.DeltaDiscoveryRequest(type_url=PLAN).SerializeToString(),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("data", "words"), [(b"\xff\xff garbage", "not a"), (b"", "type_url"), (None, "node.id")]
)
async def test_a_bad_stream_gets_a_clear_error_and_harms_nobody(
    site: Site, method: str, data: bytes | None, words: str
) -> None:
    good, bad = await site.subscribe("good"), site.call(method)
    await bad.write(NO_NODE[method] if data is None else data)
    async with asyncio.timeout(TIMEOUT):
        assert await bad.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert words in await bad.details()
    site.hub.set_target(plans(1, a="1"))
    await ack(good, await receive(good))
    assert set((await site.hub.wait(1, TIMEOUT)).nodes) == {"good"}


async def test_garbage_later_on_ends_the_stream(site: Site) -> None:
    call = await site.subscribe("w")
    site.hub.set_target(plans(1, a="1"))
    await receive(call)
    await call.write(b"\xff")
    async with asyncio.timeout(TIMEOUT):
        assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert not site.hub.ledger.nodes()[0].connected


async def test_a_client_that_ends_its_side_is_let_go(site: Site) -> None:
    call = await site.subscribe("w")
    site.hub.set_target(plans(1, a="1"))
    await receive(call)
    await call.done_writing()
    async with asyncio.timeout(TIMEOUT):
        assert await call.code() == grpc.StatusCode.OK
    assert not site.hub.ledger.nodes()[0].connected


async def test_a_client_that_vanishes_is_let_go(site: Site) -> None:
    gone, good = await site.subscribe("gone"), await site.subscribe("good")
    site.hub.set_target(plans(1, a="1"))
    await receive(gone)
    gone.cancel()
    await ack(good, await receive(good))
    status = await site.hub.wait(1, TIMEOUT)
    assert (status.state, set(status.nodes)) == ("applied", {"good"})


async def test_waiting_ends_in_time(site: Site) -> None:
    async with asyncio.timeout(TIMEOUT):
        assert (await site.hub.wait(7, 0.01)).state == "pending"


async def test_the_public_names() -> None:
    public = {name for name in vars(control_plane.xds) if name[0].isupper()}
    assert public == set(control_plane.xds.__all__)
