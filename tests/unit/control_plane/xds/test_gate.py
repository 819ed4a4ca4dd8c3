"""Who is let in, and who is sent away, on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2 as pb

from control_plane.compile.model import PLAN
from control_plane.xds import SERVER_OPTIONS, Hub
from control_plane.xds.gate import Gate
from control_plane.xds.server import SERVICE
from tests.unit.control_plane.xds._clients import resource, target

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


@asynccontextmanager
async def calling(hub: Hub, gate: Gate) -> AsyncIterator[Any]:
    """A call to the hub behind the gate, with its first request sent."""
    server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=(gate,))
    hub.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        message = pb.DeltaDiscoveryRequest(type_url=PLAN, resource_names_subscribe=["*"])
        message.node.id = "n"
        call: Any = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")()
        with contextlib.suppress(grpc.aio.AioRpcError):  # it may have been refused by now
            await call.write(message.SerializeToString())
        yield call
    await server.stop(None)


async def test_nobody_is_let_in_while_there_is_nothing_to_say() -> None:
    gate = Gate(lambda: False)
    async with calling(hub := Hub(), gate) as call:
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert not hub.ledger.nodes()
        assert not gate.occupied.is_set()


async def test_who_is_inside_is_served_until_all_are_sent_away() -> None:
    gate, hub = Gate(lambda: True), Hub()
    hub.set_target(target(1, resource(PLAN, "a")))
    async with calling(hub, gate) as call:
        response = pb.DeltaDiscoveryResponse.FromString(await call.read())
        assert [each.name for each in response.resources] == ["a"]
        assert gate.occupied.is_set()
        gate.end()
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert not gate.occupied.is_set()
        assert not any(node.connected for node in hub.ledger.nodes())


async def test_who_leaves_has_left() -> None:
    gate, hub = Gate(lambda: True), Hub()
    hub.set_target(target(1, resource(PLAN, "a")))
    async with calling(hub, gate) as call:
        await call.read()
        call.cancel()
        async with asyncio.timeout(10):
            while gate.occupied.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert not any(node.connected for node in hub.ledger.nodes())
