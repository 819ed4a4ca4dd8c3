"""A hub on a port of its own, and real Envoys that join it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from control_plane.compile.model import XdsResource
from control_plane.xds import SERVER_OPTIONS, Hub
from control_plane.xds.stream import Variant
from tests.e2e.xds import _world as world
from tests.support.envoy import EnvoyProcess, ads_bootstrap

APPLIED = 20.0
"""Seconds within which a change must be everywhere; it takes milliseconds."""


class Fleet:
    """A hub on a port, and Envoys that join it. Stopping it stops them."""

    def __init__(self, directory: Path) -> None:
        self.hub = Hub(linger=0.2, patience=2.0)
        self.port = 0
        self._directory = directory
        self._envoys: list[EnvoyProcess] = []
        self._server: grpc.aio.Server | None = None

    async def listen(self) -> None:
        """Serves the hub, on the same port as before if there was one."""
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self.hub.register(self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def cut(self) -> None:
        """Ends every stream and stops listening."""
        if self._server is not None:
            await self._server.stop(None)

    async def envoy(self, variant: Variant, node_id: str = "envoy-1") -> EnvoyProcess:
        directory = self._directory / f"{node_id}-{len(self._envoys)}"
        envoy = EnvoyProcess(directory, ads_bootstrap(self.port, variant, node_id))
        self._envoys.append(envoy)
        await asyncio.to_thread(envoy.start)
        return envoy

    async def apply(self, revision: int, *resources: XdsResource) -> None:
        """Sets the target and waits until every node has applied it."""
        self.hub.set_target(world.compiled(revision, *resources))
        status = await self.hub.wait(revision, APPLIED)
        assert status.state == "applied", status

    async def stop(self) -> None:
        for envoy in self._envoys:
            await asyncio.to_thread(envoy.stop)
        await self.cut()


@pytest.fixture(scope="session", autouse=True)
async def one_loop() -> AsyncIterator[None]:
    """Keeps the event loop for all tests: grpcio tells the end of a cancelled call a moment later."""
    yield  # noqa: PT022 - a `return` would let go of the loop


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    fleet = Fleet(tmp_path)
    await fleet.listen()
    try:
        yield fleet
    finally:
        await fleet.stop()


@pytest.fixture(params=["delta", "sotw"])
def variant(request: pytest.FixtureRequest) -> Variant:
    chosen: Variant = request.param
    return chosen
