"""The real Envoy as a client of the xDS server, by both variants of ADS."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest

from control_plane.compile.model import CLUSTER, XdsResource
from control_plane.xds import TypeStatus
from control_plane.xds.stream import Variant
from tests.e2e.xds import _world as world
from tests.e2e.xds.conftest import APPLIED, Fleet
from tests.support.envoy import EnvoyProcess

pytestmark = pytest.mark.anyio


def proxy(wiring: str, upstream: int) -> tuple[XdsResource, ...]:
    """One wiring: routes to a cluster of its own, and Envoy's own answer at /name."""
    return (
        world.listener(),
        world.routes({"/": wiring}, {"/name": wiring}),
        world.cluster(wiring),
        world.endpoints(wiring, [upstream]),
    )


async def until(probe: Callable[[], object], what: str) -> None:
    """Waits for a condition that Envoy's admin interface or the ledger shows."""
    with anyio.fail_after(APPLIED):
        while not await asyncio.to_thread(probe):  # noqa: ASYNC110 - Envoy cannot tell us
            await anyio.sleep(0.01)


async def upstream_port(envoy: EnvoyProcess) -> int:
    return await asyncio.to_thread(envoy.port, "upstream")


@asynccontextmanager
async def front(envoy: EnvoyProcess) -> AsyncIterator[httpx.AsyncClient]:
    port = await asyncio.to_thread(envoy.port, "front")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client


def came_back(fleet: Fleet) -> Mapping[str, TypeStatus]:
    """The types of the only node, once it is connected."""
    (node,) = fleet.hub.ledger.nodes()
    return node.types if node.connected else {}


def clusters(envoy: EnvoyProcess) -> set[str]:
    statuses = json.loads(envoy.get("/clusters?format=json"))["cluster_statuses"]
    return {status["name"] for status in statuses} - {"xds"}


async def test_an_envoy_joins_and_is_known(fleet: Fleet, variant: Variant) -> None:
    envoy = await fleet.envoy(variant)
    await fleet.apply(1, *proxy("one", await upstream_port(envoy)))
    async with front(envoy) as client:
        assert (await client.get("/")).text == "upstream"
    (node,) = fleet.hub.ledger.nodes()
    assert (node.id, node.cluster, node.connected) == ("envoy-1", "tests", True)
    assert (node.user_agent, node.applied_revision) == ("envoy/1.40.0", 1)
    assert not any(status.error or status.pending for status in node.types.values())


async def test_a_target_that_was_there_before_envoy(fleet: Fleet, variant: Variant) -> None:
    fleet.hub.set_target(world.compiled(1, world.listener(), world.routes({}, {"/name": "early"})))
    assert fleet.hub.ledger.status(1).state == "pending"
    envoy = await fleet.envoy(variant)
    assert (await fleet.hub.wait(1, APPLIED)).state == "applied"
    async with front(envoy) as client:
        assert (await client.get("/name")).text == "early"


async def test_routes_move_under_traffic_without_a_failure(fleet: Fleet, variant: Variant) -> None:
    """Section "Eventual consistency considerations": make before break, 40 times."""
    envoy = await fleet.envoy(variant)
    upstream = await upstream_port(envoy)
    await fleet.apply(1, *proxy("w1", upstream))
    answers: Counter[tuple[int, str]] = Counter()
    async with front(envoy) as client, anyio.create_task_group() as tasks:

        async def call() -> None:
            while True:
                answer = await client.get("/")
                answers[answer.status_code, answer.text] += 1

        for _ in range(4):
            tasks.start_soon(call)
        for revision in range(2, 42):
            await fleet.apply(revision, *proxy(f"w{revision}", upstream))
            named = (await client.get("/name")).text
            assert named == f"w{revision}", "applied, but not what is served"
        tasks.cancel_scope.cancel()
    assert set(answers) == {(200, "upstream")}
    await until(lambda: clusters(envoy) == {"w41"}, "the old clusters to go")


async def test_a_refused_cluster_stops_the_switch(fleet: Fleet, variant: Variant) -> None:
    """Section "ACK/NACK and resource type instance version", with Envoy's own words."""
    envoy = await fleet.envoy(variant)
    upstream = await upstream_port(envoy)
    await fleet.apply(1, *proxy("good", upstream))
    bad = (*proxy("next", upstream), world.cluster("broken", timeout=-1))
    fleet.hub.set_target(world.compiled(2, *bad))
    status = await fleet.hub.wait(2, APPLIED)
    assert status.state == "rejected"
    assert status.nodes["envoy-1"].state == "rejected"
    assert "Expected positive duration" in status.nodes["envoy-1"].detail
    async with front(envoy) as client:
        assert (await client.get("/name")).text == "good"
        assert (await client.get("/")).text == "upstream"
        await until(lambda: clusters(envoy) == {"good"}, "the refused revision to be withdrawn")
        refused = await asyncio.to_thread(envoy.stat, "cluster_manager.cds.update_rejected")
        await fleet.apply(3, *proxy("fixed", upstream))
        assert (await client.get("/name")).text == "fixed"
    assert (
        await asyncio.to_thread(envoy.stat, "cluster_manager.cds.update_rejected") == refused == 1
    )
    assert fleet.hub.ledger.status(2).state == "rejected"
    (node,) = fleet.hub.ledger.nodes()
    assert node.types[CLUSTER].error == ""


async def test_refused_routes_leave_the_old_ones_live(fleet: Fleet, variant: Variant) -> None:
    envoy = await fleet.envoy(variant)
    upstream = await upstream_port(envoy)
    await fleet.apply(1, *proxy("good", upstream))
    routes = world.routes({}, {"(": "x"}, regex=True)
    fleet.hub.set_target(world.compiled(2, world.listener(), routes))
    status = await fleet.hub.wait(2, APPLIED)
    assert status.state == "rejected"
    assert "missing )" in status.nodes["envoy-1"].detail
    async with front(envoy) as client:
        assert (await client.get("/")).text == "upstream"


async def test_one_of_two_envoys_is_frozen(fleet: Fleet, variant: Variant) -> None:
    """It is waited for during `patience`, then the others go on; it follows when it wakes."""
    awake, frozen = await fleet.envoy(variant, "awake"), await fleet.envoy(variant, "frozen")
    upstream = await upstream_port(awake)
    await fleet.apply(1, *proxy("one", upstream))
    frozen.pause()
    fleet.hub.set_target(world.compiled(2, *proxy("two", upstream)))
    async with front(awake) as client:
        await until(
            lambda: fleet.hub.ledger.status(2).nodes["awake"].state == "applied", "the other"
        )
        assert (await client.get("/name")).text == "two"
    status = fleet.hub.ledger.status(2)
    assert status.state == "pending"
    assert status.nodes["frozen"].state == "pending"
    frozen.resume()
    assert (await fleet.hub.wait(2, APPLIED)).state == "applied"
    async with front(frozen) as client:
        assert (await client.get("/name")).text == "two"
        assert (await client.get("/")).text == "upstream"


async def test_the_control_plane_comes_back(fleet: Fleet, variant: Variant) -> None:
    """Traffic goes on while it is away; what changed meanwhile arrives when it is back."""
    envoy = await fleet.envoy(variant)
    upstream = await upstream_port(envoy)
    await fleet.apply(1, *proxy("before", upstream))
    async with front(envoy) as client:
        await fleet.cut()
        await until(lambda: not fleet.hub.ledger.nodes()[0].connected, "the stream to end")
        assert (await client.get("/")).text == "upstream"
        fleet.hub.set_target(world.compiled(2, *proxy("after", upstream)))
        await fleet.listen()
        assert (await fleet.hub.wait(2, APPLIED)).state == "applied"
        assert (await client.get("/name")).text == "after"
        assert (await client.get("/")).text == "upstream"


async def test_nothing_is_sent_again_to_one_that_comes_back(fleet: Fleet, variant: Variant) -> None:
    """`initial_resource_versions`, and `version_info` of a wildcard: Envoy counts its updates."""
    envoy = await fleet.envoy(variant)
    await fleet.apply(1, *proxy("same", await upstream_port(envoy)))
    updates = await asyncio.to_thread(envoy.stat, "cluster_manager.cds.update_success")
    await fleet.cut()
    await until(lambda: not fleet.hub.ledger.nodes()[0].connected, "the stream to end")
    await fleet.listen()
    await until(lambda: len(came_back(fleet)) == 4, "Envoy to ask for all four types again")
    await until(lambda: fleet.hub.ledger.status(1).state == "applied", "Envoy to be settled")
    assert await asyncio.to_thread(envoy.stat, "cluster_manager.cds.update_success") == updates


async def test_a_cluster_that_changes_is_warm_at_once(fleet: Fleet, variant: Variant) -> None:
    """Section "Resource warming": its endpoints are the same, and must be sent again. (Else Envoy
    waits out its `initial_fetch_timeout` of 15 s, and then goes on with those it knew.)"""
    envoy = await fleet.envoy(variant)
    port = await upstream_port(envoy)
    await fleet.apply(1, *proxy("a", port))
    changed = world.cluster("a", timeout=2)
    rest = [r for r in proxy("a", port) if r.type_url != CLUSTER]

    def is_active() -> bool:
        dump = envoy.get("/config_dump?resource=dynamic_active_clusters")
        timeouts = [each["cluster"].get("connect_timeout") for each in json.loads(dump)["configs"]]
        return timeouts == ["2s"]

    with anyio.fail_after(10):  # Envoy answers the cluster, too, only when it is warm
        await fleet.apply(2, *rest, changed)
        await until(is_active, "the new cluster is active")
