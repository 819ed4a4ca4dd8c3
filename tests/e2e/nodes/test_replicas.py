"""Two control planes on one etcd: Envoy at one, its worker at the other, and everything in motion."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import tour
from tests.support.gateway import document, wait_for
from tests.support.load import Load
from tests.support.provider import Provider, running_provider
from tests.support.replicas import Replicas, replicas

pytestmark = pytest.mark.timeout(180)

CHANGES = 50
UPDATES = ".update_success"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider() as running:
        running.keep = False
        yield running


@pytest.fixture
def running(tmp_path: Path, provider: Provider) -> Iterator[Replicas]:
    with replicas(tmp_path, envoy_at=0, workers_at=1) as found:
        done = found.apply(*tour(provider))
        assert done.status_code == 200, done.text
        yield found


def rewired(provider: Provider, turn: int) -> list[dict[str, Any]]:
    """The proxy `menu-copy` with another upstream: a new cluster, a new route, a new plan."""
    name = f"provider-{turn}"
    upstream = {"dialect": "openai", "url": provider.url, "credential": "provider-key"}
    choice = {"name": name, "model": "gpt-4o-mini"}
    spec = {"upstreams": [choice], "template": "menu-copy@latest", "params": {"temperature": 0.2}}
    return [document("Upstream", name, upstream), document("Proxy", "menu-copy", spec)]


def test_every_replica_knows_every_node(running: Replicas) -> None:
    wait_for(lambda: running.connected(1) == running.connected(0) == {"envoy", "worker-0"})
    own = [running.nodes(plane) for plane in (0, 1)]
    assert own[0]["envoy"]["control_plane"] == own[1]["envoy"]["control_plane"]
    assert own[0]["envoy"]["control_plane"] != own[0]["worker-0"]["control_plane"]
    assert own[1]["worker-0"]["types"] == own[0]["worker-0"]["types"]


def test_wirings_change_under_load_without_a_gap(running: Replicas, provider: Provider) -> None:
    """Routes move at Envoy's replica only when the worker, at the other, has the plan."""
    with Load(running, 4) as load:
        for turn in range(CHANGES):
            done = running.apply(*rewired(provider, turn), plane=turn % 2)
            assert done.status_code == 200, done.text
            assert set(done.json()["status"]["nodes"]) == {"envoy", "worker-0"}
        load.go_on(50)
    assert load.failures == []


def test_envoys_replica_dies_in_the_middle(running: Replicas, provider: Provider) -> None:
    """Envoy hops to the other, while wirings change there."""
    victim, other = running.planes
    with Load(running, 4) as load:
        for turn in range(CHANGES):
            if turn == CHANGES // 2:
                assert victim.process is not None
                victim.process.kill()
                running.network.hop(running.ways["envoy"], other.xds)
            done = running.apply(*rewired(provider, turn), plane=1, wait="100ms")
            assert done.status_code in (200, 202), done.text
        revision = done.json()["revision"]
        with running.api(1) as api:
            path = f"/api/v1/revisions/{revision}"
            wait_for(lambda: api.get(path).json()["state"] == "applied", 30, "the last revision")
        load.go_on(50)
    assert load.failures == []


def test_an_envoy_that_hops_is_told_nothing_new(running: Replicas) -> None:
    before, versions = running.counters(UPDATES), running.nodes(0)["envoy"]["types"]
    there = running.nodes(1)["worker-0"]["control_plane"]
    running.network.hop(running.ways["envoy"], running.planes[1].xds)
    wait_for(lambda: running.nodes(1)["envoy"]["control_plane"] == there, 30, "the hop")
    wait_for(lambda: running.nodes(1)["envoy"]["applied_revision"] > 0, 30, "its subscriptions")
    wait_for(lambda: running.nodes(0)["envoy"]["control_plane"] == there, 30, "news of it")
    after = running.nodes(0)["envoy"]["types"]
    assert running.counters(UPDATES) == before
    assert after.keys() == versions.keys()


def test_after_a_restart_nothing_is_applied_before_all_nodes_are_back(
    tmp_path: Path, provider: Provider
) -> None:
    """They are known from what was reported before."""
    with replicas(tmp_path, planes=1) as running:
        assert running.apply(*tour(provider)).status_code == 200
        for way in running.ways.values():
            running.network.hop(way, "127.0.0.1:1")
        (plane,) = running.planes
        assert plane.process is not None
        plane.process.kill()
        plane.process.wait()
        plane.start()
        done = running.apply(*rewired(provider, 1), wait="500ms")
        assert done.status_code == 202, done.text
        waiting = done.json()["status"]["nodes"]
        assert {name: node["state"] for name, node in waiting.items()} == {
            "envoy": "pending",
            "worker-0": "pending",
        }
        for way in running.ways.values():
            running.network.hop(way, plane.xds)
        assert running.apply(*rewired(provider, 2)).status_code == 200
        with Load(running, 2) as load:
            load.go_on(20)
        assert load.failures == []


def test_without_etcd_what_was_known_stays(running: Replicas) -> None:
    wait_for(lambda: running.connected(0) == {"envoy", "worker-0"})
    running.etcd.kill()
    wait_for(lambda: running.nodes(0)["worker-0"]["as_last_seen"], 30, "the outage to be seen")
    assert not running.nodes(0)["envoy"]["as_last_seen"]
    assert running.connected(0) == {"envoy", "worker-0"}
    with Load(running, 2) as load:
        load.go_on(20)
    assert load.failures == []
    running.etcd.start()
    wait_for(lambda: not running.nodes(0)["worker-0"]["as_last_seen"], 30, "etcd to be back")
    wait_for(lambda: running.connected(1) == {"envoy", "worker-0"}, 30, "everybody")


def test_a_worker_that_is_stopped(tmp_path: Path, provider: Provider) -> None:
    """It is named by whoever waits, holds up nobody for long, and gets no requests until it is
    back."""
    with replicas(tmp_path, workers=2, envoy_at=0, workers_at=1) as running:
        assert running.apply(*tour(provider)).status_code == 200
        assert running.workers_health() == {"worker-0": True, "worker-1": True}
        running.signal("worker-1", signal.SIGSTOP)
        waiting = running.apply(*rewired(provider, 1), wait="2s")
        assert waiting.status_code == 202, waiting.text
        states = {n: found["state"] for n, found in waiting.json()["status"]["nodes"].items()}
        assert states["worker-1"] == "pending"
        healthy = {"worker-0": True, "worker-1": False}
        wait_for(lambda: running.workers_health() == healthy, 20, "its endpoint to be unhealthy")
        with Load(running, 4) as load:
            load.go_on(50)
            later = running.apply(*rewired(provider, 2), wait="2s")
            assert later.status_code == 202, later.text
            states = later.json()["status"]["nodes"]
            assert states["envoy"]["state"] == states["worker-0"]["state"] == "applied"
            assert "does not answer" in states["worker-1"]["detail"]
            load.go_on(50)
        assert load.failures == []
        running.signal("worker-1", signal.SIGCONT)
        healthy = {"worker-0": True, "worker-1": True}
        wait_for(lambda: running.workers_health() == healthy, 30, "it to be healthy again")
        assert running.apply(*rewired(provider, 3)).status_code == 200
