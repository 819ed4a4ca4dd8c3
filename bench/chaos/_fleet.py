"""Two sites on one etcd, and how each part of them is killed and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.gateway import Gateway, free_port, running_gateway, wait_for

START: Final = 60.0
NODES: Final = frozenset({"gateway", "ext-proc-0", "ext-proc-1", "envoy-b", "worker-b"})


@dataclass
class Role:
    """`naru COMMAND`, started again each time it is killed."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "naru", *self.command],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class Fleet:
    """See `bench.chaos`. `up` is the first site, `second` the other control plane."""

    up: Gateway
    second: Role
    apis: tuple[httpx.Client, httpx.Client]
    admins: tuple[str, str]
    strikes: list[str] = field(default_factory=list)

    def is_connected(self) -> bool:
        """Whether every control plane knows every node."""
        return all({n["id"] for n in self.connected(api)} == NODES for api in self.apis)

    def connected(self, api: httpx.Client) -> list[dict[str, Any]]:
        """The nodes that are connected anywhere, by the word of one control plane."""
        try:
            nodes = api.get("/api/v1/status").json()["nodes"]
        except (httpx.HTTPError, LookupError):
            return []
        return [node for node in nodes if node["connected"]]

    @property
    def victims(self) -> Mapping[str, Callable[[], None]]:
        """What may be killed, and how."""
        return {
            "etcd": lambda: self._strike_up("etcd"),
            "control plane 1": lambda: self._strike_up("control_plane"),
            "control plane 2": self._strike_second,
            "worker": lambda: self._strike_up("ext_proc"),
        }

    def strike(self, victim: str) -> None:
        """Kill it, and wait until it is back."""
        self.strikes.append(victim)
        self.victims[victim]()

    def _strike_up(self, group: str) -> None:
        """`naru up` starts its own children again."""
        pid, *others = self.up.endpoints["pids"][group]
        os.kill(pid, signal.SIGKILL)

        def is_back() -> bool:
            found = self.up.endpoints
            return (
                bool(found["ready"])
                and pid not in (now := found["pids"][group])
                and (len(now) == len(others) + 1)
            )

        wait_for(is_back, START, f"another {group}")

    def _strike_second(self) -> None:
        self.second.kill()
        time.sleep(0.2)
        self.second.start()
        wait_for(lambda: is_ready(self.apis[1]), START, "the second control plane")


@contextmanager
def fleet(directory: Path) -> Iterator[Fleet]:
    """Everything, connected."""
    with ExitStack() as stack:
        up = stack.enter_context(
            running_gateway(directory / "data", NARU_WORKERS="2", NARU_ENVOY_THREADS="1")
        )
        ends = up.endpoints
        second, api, xds = _control_plane(up, directory)
        stack.callback(second.stop)
        second.start()
        token = Path(ends["admin_token_file"]).read_text().strip()
        other = httpx.Client(
            base_url=f"http://{api}", headers={"authorization": f"Bearer {token}"}, timeout=60
        )
        stack.enter_context(other)
        wait_for(lambda: is_ready(other), START, "the second control plane")
        admin = _data_plane(stack, up, directory, workers_xds=xds)
        made = Fleet(up, second, (up.api, other), (ends["envoy_admin"], admin))
        wait_for(made.is_connected, START, "all nodes")
        yield made


def is_ready(api: httpx.Client) -> bool:
    try:
        return api.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def _control_plane(up: Gateway, directory: Path) -> tuple[Role, str, str]:
    """A second one on the same etcd, its API and its xDS."""
    api, xds = (f"127.0.0.1:{free_port()}" for _ in range(2))
    own = {
        "NARU_DATA_DIR": str(directory / "second"),
        "NARU_KEK_FILE": str(up.data_dir / "kek"),
        "NARU_ADMIN_TOKEN_FILE": up.endpoints["admin_token_file"],
        "NARU_ETCD_ENDPOINTS": up.endpoints["etcd"].removeprefix("http://"),
        "NARU_GATEWAY_ADDRESS": up.endpoints["gateway"].removeprefix("http://"),
        "NARU_API_ADDRESS": api,
        "NARU_XDS_ADDRESS": xds,
    }
    (directory / "second").mkdir(mode=0o700)
    return Role(("control-plane",), _environment() | own, directory / "second.log"), api, xds


def _data_plane(stack: ExitStack, up: Gateway, directory: Path, workers_xds: str) -> str:
    """The second site's worker and Envoy, and where that Envoy's admin page is.

    Both Envoys listen on one port (SO_REUSEPORT, Envoy's default): the kernel spreads the calls.
    """
    ends, socket = up.endpoints, directory / "b.sock"
    worker = {"NARU_XDS_ADDRESS": workers_xds, "NARU_NODE_ID": "worker-b"}
    admin = f"127.0.0.1:{free_port()}"
    envoy = {
        "NARU_DATA_DIR": str(directory / "b"),
        "NARU_XDS_ADDRESS": ends["xds"].removeprefix("http://"),
        "NARU_ENVOY_ADMIN_ADDRESS": admin,
        "NARU_NODE_ID": "envoy-b",
        "NARU_EXT_PROC_SOCKETS": str(socket),
    }
    for command, own in (
        (("ext-proc", "--socket", str(socket)), worker),
        (("envoy", "--concurrency", "1"), envoy),
    ):
        role = Role(command, _environment() | own, directory / f"{command[0]}-b.log")
        stack.callback(role.stop)
        role.start()
    return f"http://{admin}"


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("NARU_")}
