"""The product put together from its roles, each its own command, as containers would run it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from naru.up import binaries
from tests.support.etcd import free_ports
from tests.support.gateway import Gateway, wait_for

TOKEN = "admin-token-of-a-test"


@dataclass(frozen=True)
class Places:
    """Addresses and files of one assembly; `etcd` is `host:port`."""

    root: Path
    etcd: str
    gateway: str
    api: str
    xds: str
    admin: str

    @classmethod
    def pick(cls, root: Path, etcd: str) -> Places:
        ports = [f"127.0.0.1:{port}" for port in free_ports(4)]
        return cls(root, etcd, *ports)

    @property
    def socket(self) -> Path:
        return self.root / "w.sock"

    def environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("NARU_")}
        return inherited | {
            "NARU_DATA_DIR": str(self.root / "data"),
            "NARU_GATEWAY_ADDRESS": self.gateway,
            "NARU_API_ADDRESS": self.api,
            "NARU_XDS_ADDRESS": self.xds,
            "NARU_ENVOY_ADMIN_ADDRESS": self.admin,
            "NARU_ETCD_ENDPOINTS": self.etcd,
            "NARU_KEK": base64.b64encode(bytes(32)).decode(),
            "NARU_ADMIN_TOKEN_FILE": str(self.root / "token"),
            "NARU_EXT_PROC_SOCKETS": str(self.socket),
        }


@contextmanager
def role(places: Places, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`naru COMMAND` for as long as the block lasts; its output goes to `<root>/roles.log`."""
    with (places.root / "roles.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "naru", *command],
            env=places.environment() | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def assembled(places: Places, workers_xds: str | None = None) -> Iterator[Gateway]:
    """Control plane, one worker and Envoy, live; the worker reaches xDS at `workers_xds`."""
    (places.root / "data").mkdir(mode=0o700)
    token = places.root / "token"
    token.touch(0o600)
    token.write_text(TOKEN)
    with ExitStack() as stack:
        control_plane = stack.enter_context(role(places, "control-plane"))
        worker = {"NARU_XDS_ADDRESS": workers_xds or places.xds, "NARU_NODE_ID": "worker"}
        command = ("ext-proc", "--socket", str(places.socket))
        stack.enter_context(role(places, *command, **worker))
        stack.enter_context(role(places, "envoy", "--concurrency", "1", NARU_NODE_ID="envoy"))
        headers = {"authorization": f"Bearer {TOKEN}"}
        api = httpx.Client(base_url=f"http://{places.api}", headers=headers, timeout=60)
        caller = httpx.Client(base_url=f"http://{places.gateway}", timeout=60)
        stack.enter_context(api)
        stack.enter_context(caller)
        wait_for(lambda: connected(api) == {"envoy", "worker"}, 40, "both nodes connected")
        log = places.root / "roles.log"
        yield Gateway(control_plane, places.root / "data", log, api, caller)


@contextmanager
def joined_envoy(places: Places, node_id: str) -> Iterator[Path]:
    """Another Envoy, started with what `naru bootstrap` prints; the path of its log."""
    admin = f"127.0.0.1:{free_ports(1)[0]}"
    command = [sys.executable, "-m", "naru", "bootstrap", "--node-id", node_id]
    command += ["--admin-address", admin]
    printed = subprocess.run(
        command, env=places.environment(), capture_output=True, check=True, timeout=30
    ).stdout
    config, log = places.root / f"{node_id}.yaml", places.root / f"{node_id}.log"
    config.write_bytes(printed)
    with log.open("wb") as output:
        envoy = [binaries.find("envoy"), "-c", config, "--concurrency", "1"]
        process = subprocess.Popen([*envoy, "--disable-hot-restart"], stdout=output, stderr=output)
    try:
        yield log
    finally:
        process.terminate()
        process.wait(20)


def connected(api: httpx.Client) -> set[str]:
    """The nodes that the control plane is connected with."""
    try:
        status: Mapping[str, list[dict[str, object]]] = json.loads(api.get("/api/v1/status").text)
    except httpx.HTTPError:
        return set()
    return {str(node["id"]) for node in status["nodes"] if node["connected"]}
