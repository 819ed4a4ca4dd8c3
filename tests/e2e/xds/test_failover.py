"""An Envoy that starts while the control plane is away, beside a `naru failover`.

Envoy's side is xDS failover, experimental in 1.40; what it does exactly is held here.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from control_plane.compile.model import ROUTE, Compiled, XdsResource
from control_plane.failover import FailoverSettings, run
from control_plane.failover._mirror import Mirror
from naru.bootstrap import read_template
from tests.e2e.xds import _world as world
from tests.e2e.xds.conftest import Fleet
from tests.support.envoy import EnvoyProcess, ads_bootstrap

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
SOON = 20.0


class Beside:
    """A failover process (a task of the test's loop) that can be stopped and started."""

    def __init__(self, directory: Path, xds_port: int) -> None:
        key = directory / "key"
        key.touch(0o600)
        key.write_bytes(base64.b64encode(bytes(range(32))))
        self.settings = FailoverSettings(
            directory / "f.sock", f"127.0.0.1:{xds_port}", directory / "envoy.lkg", key
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stop, ready = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(run(self.settings, stop=stop, ready=ready.set))
        await asyncio.wait_for(ready.wait(), SOON)
        try:
            yield
        finally:
            stop.set()
            await task

    async def written(self) -> None:
        """Until there is a snapshot."""
        await until(self.settings.state_file.exists, "a snapshot")


def envoy_beside(beside: Beside, fleet: Fleet, directory: Path) -> EnvoyProcess:
    bootstrap = ads_bootstrap(fleet.port, "delta")
    more = yaml.safe_load(read_template("failover.yaml"))
    services: list[Any] = bootstrap["dynamic_resources"]["ads_config"]["grpc_services"]
    services += more["dynamic_resources"]["ads_config"]["grpc_services"]
    (cluster,) = more["static_resources"]["clusters"]
    (locality,) = cluster["load_assignment"]["endpoints"]
    locality["lb_endpoints"][0]["endpoint"]["address"]["pipe"]["path"] = str(beside.settings.socket)
    bootstrap["static_resources"]["clusters"].append(cluster)
    return EnvoyProcess(directory, bootstrap | {"layered_runtime": more["layered_runtime"]})


async def until(holds: Callable[[], object], what: str) -> None:
    for _ in range(1000):
        if await asyncio.to_thread(holds):
            return
        await asyncio.sleep(SOON / 1000)
    raise AssertionError(f"no sign of {what}")


async def get(envoy: EnvoyProcess, path: str) -> str:
    port = await asyncio.to_thread(envoy.port, "front")
    # A listener is shown a moment before the worker threads listen.
    retrying = httpx.AsyncHTTPTransport(retries=5)
    async with httpx.AsyncClient(trust_env=False, transport=retrying) as client:
        return (await client.get(f"http://127.0.0.1:{port}{path}")).text


def resources(envoy: EnvoyProcess, text: str, cluster: str = "a") -> list[XdsResource]:
    return [
        world.listener(),
        world.cluster(cluster),
        world.endpoints(cluster, [envoy.port("upstream")]),
        world.routes({"/up": cluster}, {"/text": text}),
    ]


def is_back(fleet: Fleet, revision: int) -> bool:
    nodes = fleet.hub.ledger.nodes()
    return any(node.connected and node.applied_revision == revision for node in nodes)


@pytest.fixture
async def beside(fleet: Fleet, tmp_path: Path) -> Beside:
    return Beside(tmp_path, fleet.port)


@pytest.fixture
async def envoy(beside: Beside, fleet: Fleet, tmp_path: Path) -> AsyncIterator[EnvoyProcess]:
    envoy = envoy_beside(beside, fleet, tmp_path / "envoy")
    await asyncio.to_thread(envoy.start)
    try:
        yield envoy
    finally:
        await asyncio.to_thread(envoy.stop)


async def test_an_envoy_that_restarts_without_a_control_plane(
    fleet: Fleet, beside: Beside, envoy: EnvoyProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async with beside.running():
        await fleet.apply(1, *resources(envoy, "one"))
        assert [node.id for node in fleet.hub.ledger.nodes()] == ["envoy-1"]
        await beside.written()
    assert b"one" not in beside.settings.state_file.read_bytes()
    await fleet.cut()
    async with beside.running():
        # An Envoy that runs keeps what it has, and asks nowhere else.
        failures = envoy.stat("cluster.xds.upstream_cx_connect_fail") or 0
        await until(
            lambda: (envoy.stat("cluster.xds.upstream_cx_connect_fail") or 0) > failures + 3,
            "attempts at the control plane",
        )
        assert not envoy.stat("cluster.xds_failover.upstream_cx_total")
        assert await get(envoy, "/text") == "one"
        # One that starts takes what was good last.
        await asyncio.to_thread(envoy.stop)
        await asyncio.to_thread(envoy.start)
        assert await get(envoy, "/text") == "one"
        # It goes back to the control plane, and what was removed meanwhile goes, too.
        fleet.hub.set_target(world.compiled(2, *resources(envoy, "two", "b")))
        await fleet.listen()
        await until(lambda: is_back(fleet, 2), "Envoy at the control plane")
        assert await get(envoy, "/text") == "two"
        await until(lambda: "a::" not in envoy.get("/clusters"), "the old cluster gone")
        assert await get(envoy, "/up") == "upstream"
        # There it stays, and goes on from there.
        await fleet.apply(3, *resources(envoy, "three"))
        assert envoy.stat("cluster.xds_failover.upstream_rq_active") == 0


async def test_a_refused_revision_is_never_kept(
    fleet: Fleet, beside: Beside, envoy: EnvoyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    received, taken = all_that_is_taken(monkeypatch)
    async with beside.running():
        await fleet.apply(1, *resources(envoy, "one"))
        await beside.written()
        bad = world.routes({"/up": "a"}, {"[": "two"}, regex=True)
        others = [each for each in resources(envoy, "") if each.type_url != ROUTE]
        fleet.hub.set_target(world.compiled(2, *others, bad))
        assert (await fleet.hub.wait(2, SOON)).state == "rejected"
        await until(lambda: bad.body in received, "it at the observer")
        await fleet.apply(3, *resources(envoy, "three"))
        await until(lambda: any(b"three" in body for body in taken), "what is good")
    assert bad.body not in taken
    await fleet.cut()
    await asyncio.to_thread(envoy.stop)
    async with beside.running():
        await asyncio.to_thread(envoy.start)
        assert await get(envoy, "/text") == "three"


def all_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> tuple[list[bytes], list[bytes]]:
    """Every resource that the observer receives, and every one that it keeps and serves."""
    received: list[bytes] = []
    taken: list[bytes] = []
    receive, compiled = Mirror.receive, Mirror.compiled

    def receiving(self: Mirror, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest:
        received.extend(each.resource.value for each in response.resources)
        return receive(self, response)

    def taking(self: Mirror, revision: int) -> Compiled:
        found = compiled(self, revision)
        taken.extend(each.body for table in found.resources.values() for each in table.values())
        return found

    monkeypatch.setattr(Mirror, "receive", receiving)
    monkeypatch.setattr(Mirror, "compiled", taking)
    return received, taken


@pytest.mark.parametrize("damage", [lambda good: good[:-1], lambda good: b"no" + good, None])
async def test_without_a_snapshot_envoy_waits_for_the_control_plane(
    fleet: Fleet,
    beside: Beside,
    envoy: EnvoyProcess,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes] | None,
) -> None:
    async with beside.running():
        await fleet.apply(1, *resources(envoy, "one"))
        await beside.written()
    await fleet.cut()
    await asyncio.to_thread(envoy.stop)
    file = beside.settings.state_file
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    async with beside.running():
        assert ("is not used" in caplog.text) == (damage is not None)
        await asyncio.to_thread(envoy.start)
        await until(
            lambda: (envoy.stat("cluster.xds_failover.upstream_rq_total") or 0) > 1,
            "Envoy asks, is refused, and asks again",
        )
        assert "front" not in envoy.ports()
        await fleet.listen()
        assert await get(envoy, "/text") == "one"
