"""Clients that do not read, that flood, that ask for too much, that talk nonsense or nothing at
all, and 500 at once: each on a real socket. The others are served, and memory stays bounded.

The xDS document has no section for this; "When to send an update" allows that a client that reads
again gets the newest state alone.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import grpc
import grpc.aio
import psutil
import pytest
from envoy.service.discovery.v3 import discovery_pb2 as pb

from control_plane.compile.model import CLUSTER, ENDPOINT, PLAN, XdsResource
from control_plane.xds.server import SERVICE
from control_plane.xds.stream import Variant
from tests.e2e.xds import _world as world
from tests.e2e.xds.conftest import APPLIED, Fleet
from tests.support.xds_clients import Crowd, EnvoyLike

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024
METHODS = {"delta": "DeltaAggregatedResources", "sotw": "StreamAggregatedResources"}


class Talk:
    """A client in the test's hands; it reads only when told to."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def send(self, message: pb.DeltaDiscoveryRequest | pb.DiscoveryRequest) -> None:
        await self.call.write(message.SerializeToString())

    async def ask(self, node: str, type_url: str = PLAN) -> None:
        message = pb.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=["*"])
        message.node.id = node
        await self.send(message)

    async def ack(self, nonce: str, type_url: str = PLAN) -> None:
        await self.send(pb.DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce))

    async def hear(self) -> pb.DeltaDiscoveryResponse:
        with anyio.fail_after(APPLIED):
            data = await self.call.read()
        assert isinstance(data, bytes), await self.call.details()
        return pb.DeltaDiscoveryResponse.FromString(data)

    async def status(self) -> grpc.StatusCode:
        with anyio.fail_after(APPLIED):
            code: grpc.StatusCode = await self.call.code()
            return code


@asynccontextmanager
async def talk(fleet: Fleet, variant: Variant = "delta") -> AsyncIterator[Talk]:
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{fleet.port}", options) as channel:
        call: Any = channel.stream_stream(f"/{SERVICE}/{METHODS[variant]}")()
        yield Talk(call)
        call.cancel()


@contextmanager
def growth_below(mebibytes: int) -> Iterator[None]:
    """Of this process, which is the server and its clients in one."""
    process = psutil.Process()
    before = process.memory_info().rss
    yield
    grown = (process.memory_info().rss - before) / MIB
    assert grown < mebibytes, f"{grown:.0f} MiB"


async def is_served(fleet: Fleet, revision: int) -> None:
    """Somebody who behaves joins, and gets a change."""
    async with talk(fleet) as good:
        await good.ask("good")
        fleet.hub.set_target(big(revision, size=10))
        with anyio.fail_after(APPLIED):
            while (heard := await good.hear()).resources[0].version != str(revision):
                await good.ack(heard.nonce)
            await good.ack(heard.nonce)


def big(revision: int, size: int = MIB) -> world.Compiled:
    body = str(revision).encode() * (size // len(str(revision)))
    return world.compiled(revision, world.plan("p", body, str(revision)))


async def test_a_client_that_acknowledges_but_does_not_read(fleet: Fleet) -> None:
    """Its TCP window is full: 1 MiB is written 200 times for ten of them, if somebody queues it.
    What it reads in the end is what had been written by then, and then the newest."""
    fleet.hub.set_target(big(1))
    async with talk(fleet) as deaf:
        await deaf.ask("deaf")
        others = [await _deaf(fleet, i) for i in range(9)]
        with growth_below(150):
            for revision in range(2, 202):
                fleet.hub.set_target(big(revision))
                for each in (deaf, *(other for other, _ in others)):
                    await each.ack(f"{revision - 1:x}")
                await asyncio.sleep(0)
        seen: list[int] = []
        while not seen or seen[-1] < 201:
            heard = await deaf.hear()
            seen.append(int(heard.resources[0].version))
            await deaf.ack(heard.nonce)
        assert seen == sorted(seen)
        assert len(seen) < 50, "not every state there ever was"
        for _, channel in others:
            await channel.close()


async def _deaf(fleet: Fleet, number: int) -> tuple[Talk, grpc.aio.Channel]:
    options = (("grpc.use_local_subchannel_pool", 1),)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{fleet.port}", options)
    deaf = Talk(channel.stream_stream(f"/{SERVICE}/{METHODS['delta']}")())
    await deaf.ask(f"deaf-{number}")
    return deaf, channel


async def test_a_flood_of_requests(fleet: Fleet) -> None:
    """10,000 of them without a look at the answers: each is small work, and none is kept."""
    fleet.hub.set_target(big(1, size=1000))
    async with talk(fleet) as flood:
        await flood.ask("flood")
        with growth_below(100):
            for number in range(10_000):
                if number == 5_000:
                    await is_served(fleet, 2)
                await flood.send(
                    pb.DeltaDiscoveryRequest(
                        type_url=PLAN,
                        resource_names_subscribe=[f"n{number % 100}"],
                        response_nonce=str(number),
                    )
                )
        await is_served(fleet, 3)
    assert fleet.hub.ledger.nodes()


@pytest.mark.parametrize("variant", METHODS)
@pytest.mark.parametrize(("names", "length"), [(1_000_000, 8), (1, 17 * MIB), (1, 5_000)])
async def test_a_request_that_is_too_much(
    fleet: Fleet, variant: Variant, names: int, length: int
) -> None:
    many = [str(i).rjust(length, "x") for i in range(names)]
    message = (
        pb.DeltaDiscoveryRequest(type_url=CLUSTER, resource_names_subscribe=many)
        if variant == "delta"
        else pb.DiscoveryRequest(type_url=CLUSTER, resource_names=many)
    )
    message.node.id = "greedy"
    async with talk(fleet, variant) as greedy:
        await greedy.send(message)
        assert await greedy.status() == grpc.StatusCode.RESOURCE_EXHAUSTED
    await is_served(fleet, 2)
    assert [node.id for node in fleet.hub.ledger.nodes()] == ["good"], "it never joined"


@pytest.mark.parametrize(
    "data", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 100_000, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
async def test_connections_that_say_nothing_or_nonsense(fleet: Fleet, data: bytes) -> None:
    """50 of them stay open for as long as they like (the last two are half of a handshake)."""
    sockets = [socket.create_connection(("127.0.0.1", fleet.port)) for _ in range(50)]
    try:
        with growth_below(50):
            for each in sockets:
                each.setblocking(False)
                if data:
                    each.send(data)
            await is_served(fleet, 2)
    finally:
        for each in sockets:
            each.close()


async def test_ten_thousand_clusters_and_a_client_with_the_usual_limit(fleet: Fleet) -> None:
    """gRPC clients refuse messages above 4 MiB (Envoy has no limit of its own). Section "Grouping
    Resources into Responses": delta goes out in parts; in state of the world clusters must be
    whole, so there such a client must raise its limit, and its own status says so."""
    fat = [XdsResource(CLUSTER, f"c{i}", "1", b"x" * 500) for i in range(10_000)]
    fleet.hub.set_target(world.compiled(1, *fat))
    async with talk(fleet) as delta:
        await delta.ask("delta", CLUSTER)
        got: set[str] = set()
        while len(got) < len(fat):
            heard = await delta.hear()
            assert heard.ByteSize() < 3 * MIB
            got |= {each.name for each in heard.resources}
            await delta.ack(heard.nonce, CLUSTER)
    async with talk(fleet, "sotw") as sotw:
        message = pb.DiscoveryRequest(type_url=CLUSTER)
        message.node.id = "sotw"
        await sotw.send(message)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await sotw.call.read()
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_five_hundred_at_once(fleet: Fleet) -> None:
    """All start, follow a change, lose the server and come back: each has exactly what is served,
    and is not sent again what it has."""
    names = [f"c{i}" for i in range(20)]

    def resources(wirings: list[str]) -> list[XdsResource]:
        parts = [
            part(n) for n in wirings for part in (world.cluster, lambda n: world.endpoints(n, [1]))
        ]
        return [world.listener(), world.routes({f"/{n}": n for n in wirings}), *parts]

    fleet.hub.set_target(world.compiled(1, *resources(names)))
    async with Crowd(500, fleet.port) as crowd:
        await _all_have(fleet, 1)
        await fleet.apply(2, *resources([*names, "new"]))
        before = crowd.received
        await fleet.cut()
        await fleet.listen()
        await _all_have(fleet, 2)
        assert crowd.received == before
        await fleet.apply(3, *resources(names))
        with anyio.fail_after(APPLIED):  # until what nobody names any more is gone
            while not all(_has(client, names) for client in crowd.clients):  # noqa: ASYNC110
                await anyio.sleep(0.05)
    assert len({tuple(sorted(client.cache[CLUSTER].items())) for client in crowd.clients}) == 1


def _has(client: EnvoyLike, names: list[str]) -> bool:
    return all(sorted(client.cache[t]) == sorted(names) for t in (CLUSTER, ENDPOINT))


async def _all_have(fleet: Fleet, revision: int) -> None:
    with anyio.fail_after(60):
        while True:
            nodes = fleet.hub.ledger.nodes()
            up = sum(n.connected and n.applied_revision == revision for n in nodes)
            if up == 500:
                return
            await anyio.sleep(0.05)
