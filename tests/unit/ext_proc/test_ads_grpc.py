from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from ext_proc import ads_grpc
from ext_proc.ads import PLAN, SECRET, DeltaClient
from tests.unit.ext_proc.ads_server import ads_server, delta
from tests.unit.ext_proc.test_ads import Sink

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(address: str, client: DeltaClient) -> AsyncIterator[None]:
    task = asyncio.create_task(ads_grpc.run(address, client))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_subscribes_applies_and_answers() -> None:
    plans = Sink()
    client = DeltaClient("worker-1", {SECRET: Sink(), PLAN: plans})
    async with ads_server() as (server, address), running(address, client):
        assert (await server.received()).node.id == "worker-1"
        assert (await server.received()).type_url == PLAN
        await server.send(delta(PLAN, "1", {"a": b"x" * (5 << 20)}))  # above gRPC's usual 4 MiB
        ack = await server.received()
        assert (ack.response_nonce, ack.HasField("error_detail")) == ("1", False)
        assert len(plans.resources["a"]) == 5 << 20
        await server.send(delta(PLAN, "2", {"bad": b""}))
        assert (await server.received()).error_detail.message.startswith("plan bad")


async def test_comes_back_with_what_it_knows_after_the_stream_ends() -> None:
    client = DeltaClient("worker-1", {PLAN: Sink()})
    async with ads_server() as (server, address), running(address, client):
        await server.received()
        await server.send(delta(PLAN, "1", {"a": b"1"}))
        await server.received()
        await server.send(None)
        again = await server.received()
        assert again.node.id == "worker-1"
        assert dict(again.initial_resource_versions) == {"a": "v-1"}
        assert server.streams == 2


async def test_comes_back_when_the_server_was_away() -> None:
    client = DeltaClient("worker-1", {PLAN: Sink()})
    async with ads_server() as (_, address):
        pass  # now nobody listens there
    async with running(address, client):
        async with ads_server(address) as (server, _):
            await server.received()
        async with ads_server(address) as (server, _):
            await server.received()


@pytest.mark.parametrize("turns", range(12))
async def test_ends_when_it_is_cancelled_whatever_it_does(turns: int) -> None:
    """Wherever the cancellation meets it."""
    client = DeltaClient("worker-1", {PLAN: Sink()})
    async with ads_server() as (_, address):
        task = asyncio.create_task(ads_grpc.run(address, client))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(5):
                await task


async def test_ends_even_if_the_connection_swallows_the_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def swallows(*_: object) -> bool:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return False

    monkeypatch.setattr(ads_grpc, "_connect", swallows)
    task = asyncio.create_task(ads_grpc.run("", DeltaClient("worker-1", {PLAN: Sink()})))
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=5)
    task.cancel()  # for the run in which the first was lost
    assert done
