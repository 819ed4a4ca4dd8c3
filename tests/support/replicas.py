"""Several control planes on one etcd, one Envoy, and workers, each a process to be hurt at will.

Envoy and the workers reach xDS through a `TcpProxy` each, so that a test says to which replica they
are connected, and when they hop.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.support.control_plane import ControlPlaneProcess
from tests.support.etcd import EtcdProcess, free_ports
from tests.support.gateway import wait_for
from tests.support.tcp_proxy import TcpProxy

T = TypeVar("T")
TOKEN = "admin-token-of-a-test"
LARGE = ("--max-txn-ops=10240", "--max-request-bytes=33554432")


class Network:
    """`TcpProxy`s in a thread of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._proxies: list[TcpProxy] = []
        self._thread.start()

    def way(self, target: str) -> TcpProxy:
        proxy = TcpProxy(target)
        self._do(proxy.__aenter__())
        self._proxies.append(proxy)
        return proxy

    def hop(self, proxy: TcpProxy, target: str) -> None:
        """Its connections break, and new ones go there."""

        async def turn() -> None:
            proxy.turn(target)
            proxy.cut()

        self._do(turn())

    def close(self) -> None:
        for proxy in self._proxies:
            self._do(proxy.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)


@dataclass
class Replicas:
    """What runs. `planes` are the control planes, `ways` how "envoy" and each worker get to them."""

    root: Path
    etcd: EtcdProcess
    planes: Sequence[ControlPlaneProcess]
    network: Network
    ways: Mapping[str, TcpProxy]
    gateway: str
    admin: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def endpoints(self) -> dict[str, Any]:
        return {"gateway": f"http://{self.gateway}"}

    def api(self, plane: int = 0) -> httpx.Client:
        headers = {"authorization": f"Bearer {TOKEN}"}
        return httpx.Client(
            base_url=f"http://{self.planes[plane].api}", headers=headers, timeout=60
        )

    def apply(
        self, *documents: Mapping[str, Any], wait: str = "20s", plane: int = 0
    ) -> httpx.Response:
        with self.api(plane) as api:
            return api.post("/api/v1/apply", params={"wait": wait}, json=list(documents))

    def nodes(self, plane: int = 0) -> dict[str, dict[str, Any]]:
        with self.api(plane) as api:
            found = api.get("/api/v1/status").json()["nodes"]
        return {node["id"]: node for node in found}

    def connected(self, plane: int = 0) -> set[str]:
        return {name for name, node in self.nodes(plane).items() if node["connected"]}

    def signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self.processes[name].pid, number)

    def workers_health(self) -> dict[str, bool]:
        """Of each worker's socket, as Envoy sees it."""
        text = httpx.get(f"http://{self.admin}/clusters?format=json").text
        (found,) = (c for c in json.loads(text)["cluster_statuses"] if c["name"] == "ext_proc")
        return {
            Path(host["address"]["pipe"]["path"]).stem: host["health_status"]["eds_health_status"]
            != "UNHEALTHY"
            for host in found["host_statuses"]
        }

    def counters(self, of: str) -> dict[str, int]:
        """Envoy's counters whose names end so."""
        text = httpx.get(f"http://{self.admin}/stats?type=Counters").text
        pairs = (line.rpartition(": ") for line in text.splitlines())
        return {name: int(value) for name, _, value in pairs if name.endswith(of)}


@contextmanager
def replicas(
    root: Path, *, planes: int = 2, workers: int = 1, envoy_at: int = 0, workers_at: int = 0
) -> Iterator[Replicas]:
    """All of it, with every node connected."""
    gateway, admin = (f"127.0.0.1:{port}" for port in free_ports(2))
    names = [f"worker-{index}" for index in range(workers)]
    with ExitStack() as stack:
        etcd = stack.enter_context(EtcdProcess(root / "etcd", LARGE))
        running = [
            stack.enter_context(_plane(root / f"plane-{index}", etcd, gateway))
            for index in range(planes)
        ]
        network = Network()
        stack.callback(network.close)
        at = {"envoy": envoy_at} | dict.fromkeys(names, workers_at)
        ways = {name: network.way(running[index].xds) for name, index in at.items()}
        found = Replicas(root, etcd, running, network, ways, gateway, admin)
        for name in names:
            worker = ("ext-proc", "--socket", str(root / f"{name}.sock"), "--node-id", name)
            found.processes[name] = stack.enter_context(_role(found, name, *worker))
        sockets = ",".join(str(root / f"{name}.sock") for name in names)
        beside = ("--ext-proc-sockets", sockets, "--ext-proc-ids", ",".join(names))
        command = ("envoy", "--concurrency", "1", "--node-id", "envoy")
        found.processes["envoy"] = stack.enter_context(_role(found, "envoy", *command, *beside))
        wait_for(lambda: found.connected() >= {"envoy", *names}, 40, "all nodes")
        yield found


def _plane(root: Path, etcd: EtcdProcess, gateway: str) -> ControlPlaneProcess:
    root.mkdir()
    token = root / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    return ControlPlaneProcess(
        root, etcd.endpoint, NARU_GATEWAY_ADDRESS=gateway, NARU_ADMIN_TOKEN_FILE=str(token)
    )


@contextmanager
def _role(found: Replicas, name: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NARU_")} | {
        "NARU_DATA_DIR": str(found.root / name),
        "NARU_XDS_ADDRESS": found.ways[name].endpoint,
        "NARU_ENVOY_ADMIN_ADDRESS": found.admin,
        "NARU_EXT_PROC_GRACE": "1",
    }
    with (found.root / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "naru", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
