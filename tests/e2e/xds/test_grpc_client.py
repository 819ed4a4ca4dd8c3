"""gRPC's own `xds:///` resolver as an independent client: state of the world, by names.

Unlike Envoy it starts from a Listener that it asks for by name, and never uses wildcards: section
"API flow" of the xDS document.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from control_plane.compile.model import LISTENER, XdsResource
from tests.e2e.xds import _world as world
from tests.e2e.xds.conftest import APPLIED, Fleet

pytestmark = pytest.mark.anyio
TARGET = "echo.tests"


@asynccontextmanager
async def backend(name: str) -> AsyncIterator[int]:
    """A gRPC server that answers with its name; gives its port."""

    async def who(request: bytes, context: object) -> bytes:
        return name.encode()

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Who": grpc.unary_unary_rpc_method_handler(who)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tests.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


class Caller:
    """The program `grpc_client.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(self) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        async with asyncio.timeout(APPLIED):
            return (await self._process.stdout.readline()).decode().strip()

    async def call_until(self, answer: str) -> None:
        """An ACK says that gRPC has the configuration; it connects before it uses it."""
        async with asyncio.timeout(APPLIED):
            while await self.call() != answer:
                pass


@asynccontextmanager
async def caller(fleet: Fleet, directory: Path) -> AsyncIterator[Caller]:
    bootstrap = directory / "bootstrap.json"
    credentials = [{"type": "insecure"}]
    server = {"server_uri": f"127.0.0.1:{fleet.port}", "channel_creds": credentials}
    server["server_features"] = ["xds_v3"]
    bootstrap.write_text(json.dumps({"xds_servers": [server], "node": {"id": "grpc-1"}}))
    with (directory / "grpc.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("grpc_client.py")),
            TARGET,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(bootstrap)},
        )
    try:
        yield Caller(process)
    finally:
        process.kill()
        await process.communicate()


def service(wiring: str, port: int) -> tuple[XdsResource, ...]:
    return (
        world.api_listener(TARGET, "routes"),
        world.routes({"": wiring}),
        world.cluster(wiring),
        world.endpoints(wiring, [port]),
    )


async def test_calls_follow_the_routes(fleet: Fleet, tmp_path: Path) -> None:
    async with backend("one") as one, backend("two") as two, caller(fleet, tmp_path) as client:
        fleet.hub.set_target(world.compiled(1, *service("first", one)))
        assert await client.call() == "one"
        (node,) = fleet.hub.ledger.nodes()
        assert (node.id, node.user_agent.partition("/")[0]) == (
            "grpc-1",
            "gRPC C-core linux Python",
        )
        await fleet.apply(2, *service("second", two))
        await client.call_until("two")
        assert len(fleet.hub.ledger.nodes()[0].types) == 4


async def test_endpoints_change_in_place(fleet: Fleet, tmp_path: Path) -> None:
    """Section "Grouping Resources into Responses": EDS alone."""
    async with backend("one") as one, backend("two") as two, caller(fleet, tmp_path) as client:
        fleet.hub.set_target(world.compiled(1, *service("same", one)))
        assert await client.call() == "one"
        await fleet.apply(2, *service("same", two))
        await client.call_until("two")


async def test_a_listener_that_does_not_exist_yet(fleet: Fleet, tmp_path: Path) -> None:
    """Section "Knowing When a Requested Resource Does Not Exist": it may come at any time."""
    async with backend("late") as late, caller(fleet, tmp_path) as client:
        fleet.hub.set_target(world.compiled(1))
        call = asyncio.create_task(client.call())
        async with asyncio.timeout(APPLIED):
            while (await fleet.hub.wait(1, 0.1)).state != "applied":
                pass
        assert set(fleet.hub.ledger.nodes()[0].types) == {LISTENER}
        fleet.hub.set_target(world.compiled(2, *service("it", late)))
        assert await call == "late"
