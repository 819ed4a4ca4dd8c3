"""etcd and the control plane go away, everything else restarts meanwhile, and they come back.

The parts are processes of their own, each started and ended by the test.
"""

from __future__ import annotations

import base64
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from control_plane.failover._snapshot import Snapshot as EnvoySnapshot
from control_plane.store import PREFIX, Kek, LastKnownGood, Sealer
from ext_proc._snapshot import Snapshot as WorkerSnapshot
from ext_proc.sealed import SealedFile
from tests.e2e.conftest import tour
from tests.support.etcd import EtcdProcess
from tests.support.gateway import Gateway, document, wait_for
from tests.support.provider import Provider, running_provider
from tests.support.roles import TOKEN, Places, connected, role

pytestmark = pytest.mark.timeout(240)

KEY = bytes(range(32))
ASK = {"model": "m", "messages": [{"role": "user", "content": "Greet [[SHOP]]"}]}
CHANGES = (
    "cluster_manager.cluster_added",
    "cluster_manager.cluster_modified",
    "cluster_manager.cluster_removed",
    "listener_manager.listener_modified",
)


class Parts:
    """The roles of one product; each can be ended, or killed, and started again."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._running: dict[str, tuple[ExitStack, subprocess.Popen[bytes]]] = {}
        root = places.root
        keep = {"STATE_KEY_FILE": str(root / "key")}
        failover = {"SOCKET": str(root / "f.sock"), "STATE_FILE": str(root / "data/envoy.lkg")}
        worker = {"STATE_DIR": str(root / "data/ext_proc")}
        self._environment = {
            "NARU_ETCD_PATIENCE_SECONDS": "0.5",
            **{f"NARU_FAILOVER_{name}": value for name, value in (failover | keep).items()},
            **{f"NARU_EXT_PROC_{name}": value for name, value in (worker | keep).items()},
        }
        self._commands = {
            "control-plane": (),
            "failover": (),
            "ext-proc": ("--socket", str(places.socket), "--node-id", "worker"),
            "envoy": ("--concurrency", "1", "--node-id", "envoy"),
        }

    def start(self, *names: str) -> None:
        for name in names:
            stack = ExitStack()
            starting = role(self._places, name, *self._commands[name], **self._environment)
            self._running[name] = stack, stack.enter_context(starting)

    def end(self, *names: str, how: signal.Signals = signal.SIGTERM) -> None:
        for name in names:
            stack, process = self._running.pop(name)
            process.send_signal(how)
            stack.close()

    def end_all(self) -> None:
        self.end(*list(self._running))


@pytest.fixture
def places(tmp_path: Path, etcd: EtcdProcess) -> Places:
    (tmp_path / "data").mkdir(mode=0o700)
    for name, content in (("token", TOKEN.encode()), ("key", base64.b64encode(KEY))):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_bytes(content)
    return Places.pick(tmp_path, etcd.endpoint)


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdProcess]:
    with EtcdProcess(tmp_path / "etcd", ("--max-txn-ops=10240",)) as etcd:
        yield etcd


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as running:
        yield running


@pytest.fixture
def parts(places: Places) -> Iterator[Parts]:
    parts = Parts(places)
    try:
        yield parts
    finally:
        parts.end_all()


@pytest.fixture
def gateway(places: Places, parts: Parts, provider: Provider) -> Iterator[Gateway]:
    """Three lanes to one provider, and all three snapshots of them on disk."""
    parts.start("control-plane", "failover", "ext-proc", "envoy")
    headers = {"authorization": f"Bearer {TOKEN}"}
    with (
        httpx.Client(base_url=f"http://{places.api}", headers=headers, timeout=30) as api,
        httpx.Client(base_url=f"http://{places.gateway}", timeout=30) as caller,
    ):
        wait_for(lambda: connected(api) == {"envoy", "worker"}, 40, "both nodes connected")
        process = parts._running["envoy"][1]
        gateway = Gateway(process, places.root / "data", places.root / "roles.log", api, caller)
        choice = [{"name": "provider"}]
        gateway.apply(
            *tour(provider),
            document("Proxy", "native", {"upstreams": choice}),
            document("Proxy", "restoring", {"upstreams": choice, "restore": {"[[SHOP]]": "Bom"}}),
        )
        wait_for(lambda: all(kept(places)), 10, "three snapshots of the newest")
        yield gateway


def kept(places: Places) -> list[bool]:
    """Whether each of the snapshots has the last proxy."""
    data, sealer = places.root / "data", Sealer(Kek(bytes(32)))
    stored = LastKnownGood(data / "control_plane.lkg", PREFIX, sealer.derive).read()
    served = EnvoySnapshot(SealedFile(data / "envoy.lkg", "failover", KEY)).read()
    plans = WorkerSnapshot(data / "ext_proc/worker.lkg", "worker", KEY).read()
    last = b"restoring"
    return [
        any(last in record[0] for record in stored.records) if stored else False,
        any(last in body for _, found in served or [] for _, _, body in found),
        any(last in body for _, found in plans or [] for body in found),
    ]


def lanes(gateway: Gateway) -> list[str]:
    """What is wrong with calls in each lane; nothing if nothing is."""
    native = gateway.caller.post("/p/native/v1/chat/completions", json=ASK)
    request = gateway.run("menu-copy", {"dish": "kimchi", "mood": "warm"})
    duplex = gateway.caller.post("/p/restoring/v1/chat/completions", json=ASK)
    right = [
        "Greet [[SHOP]]" in native.text,
        "Dish: kimchi" in request.text,
        "Greet Bom" in duplex.text,
    ]
    answers = (native, request, duplex)
    return [answer.text for answer, good in zip(answers, right, strict=True) if not good]


def served(gateway: Gateway) -> bool:
    try:
        return not lanes(gateway)
    except httpx.HTTPError:
        return False


def write(gateway: Gateway, name: str) -> httpx.Response:
    """Another proxy."""
    proxy = document("Proxy", name, {"upstreams": [{"name": "provider"}]})
    return gateway.api.put(f"/api/v1/proxies/{name}", json=proxy)


def readyz(gateway: Gateway) -> dict[str, Any]:
    try:
        return dict(gateway.api.get("/readyz").json())
    except httpx.HTTPError:
        return {"status": "away"}


def applied(gateway: Gateway) -> dict[str, int]:
    """The revision at each node that is connected."""
    nodes = gateway.api.get("/api/v1/status").json()["nodes"]
    return {node["id"]: node["applied_revision"] for node in nodes if node["connected"]}


def envoys_changes(places: Places) -> dict[str, str]:
    """Envoy's counters of changes."""
    lines = httpx.get(f"http://{places.admin}/stats").text.splitlines()
    pairs = dict(line.split(": ", 1) for line in lines)
    reloads = [name for name in pairs if name.endswith(".config_reload")]
    return {name: pairs[name] for name in (*CHANGES, *reloads)}


def test_without_etcd(
    gateway: Gateway, places: Places, parts: Parts, etcd: EtcdProcess, provider: Provider
) -> None:
    etcd.kill()
    assert not lanes(gateway)
    assert gateway.api.get("/api/v1/proxies/native").status_code == 200
    refused = write(gateway, "one")
    assert refused.status_code == 503
    assert "etcd" in refused.text
    ready = wait_for(lambda: (r := readyz(gateway))["degraded"] and r, 10, "a word of etcd")
    assert ready["status"] == "ready"
    parts.end("envoy")
    parts.start("envoy")
    wait_for(lambda: served(gateway), 20, "an Envoy that has restarted")

    before, revision = envoys_changes(places), gateway.api.get("/api/v1/status").json()["revision"]
    parts.end("control-plane", how=signal.SIGKILL)
    parts.start("control-plane")
    ready = wait_for(lambda: (r := readyz(gateway))["status"] == "ready" and r, 20, "readiness")
    assert f"revision {revision} is served as it was saved at" in ready["degraded"][0]
    wait_for(lambda: applied(gateway) == {"envoy": revision, "worker": revision}, 20, "the nodes")
    assert envoys_changes(places) == before
    assert not lanes(gateway)
    parts.end("envoy", "ext-proc")
    parts.start("envoy", "ext-proc")
    wait_for(lambda: served(gateway), 20, "an Envoy and a worker that have restarted")
    assert write(gateway, "two").status_code == 503

    etcd.start()
    wait_for(lambda: not readyz(gateway)["degraded"], 20, "etcd being followed again")
    assert write(gateway, "three").status_code in (200, 201, 202)


def test_without_etcd_and_control_plane(
    gateway: Gateway, places: Places, parts: Parts, etcd: EtcdProcess, provider: Provider
) -> None:
    etcd.kill()
    parts.end("control-plane", how=signal.SIGKILL)
    assert not lanes(gateway)
    parts.end("failover", "ext-proc", "envoy", how=signal.SIGKILL)
    parts.start("failover", "ext-proc", "envoy")
    wait_for(lambda: served(gateway), 30, "calls out of the snapshots")

    # A control plane that has nothing to say must not keep them waiting for it.
    (places.root / "data/control_plane.lkg").unlink()
    parts.start("control-plane")
    wait_for(lambda: readyz(gateway)["status"] == "not ready", 20, "a control plane without etcd")
    parts.end("ext-proc", "envoy")
    parts.start("ext-proc", "envoy")
    wait_for(lambda: served(gateway), 30, "calls out of the snapshots")

    etcd.start()
    wait_for(lambda: connected(gateway.api) == {"envoy", "worker"}, 30, "the nodes")
    assert not lanes(gateway)
    gateway.apply(document("Proxy", "later", {"upstreams": [{"name": "provider"}]}))
    assert gateway.caller.post("/p/later/v1/chat/completions", json=ASK).status_code == 200
    assert connected(gateway.api) == {"envoy", "worker"}  # who only follows is no node

    for path in filter(Path.is_file, places.root.rglob("*")):
        assert provider.key.encode() not in path.read_bytes(), path
