"""The whole product as a user starts it: `naru up` in a process of its own, on free ports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

T = TypeVar("T")
_ADDRESSES = ("GATEWAY", "API", "XDS", "ENVOY_ADMIN")
START_SECONDS = 60


def wait_for(what: Callable[[], T], seconds: float = 10, why: str = "a condition") -> T:
    """The first true value of `what()`; an assertion error after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < deadline, f"{why} did not come true within {seconds} s"
        time.sleep(0.01)


def free_port() -> int:
    """A port of loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def document(kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    """A resource document."""
    head = {"apiVersion": "naru/v1", "kind": kind, "metadata": {"name": name} | metadata}
    return head | {"spec": dict(spec)}


@dataclass
class Gateway:
    """A running product.

    Attributes:
        api: an HTTP client of the control plane, with the admin token.
        caller: an HTTP client of the gateway, as a service has it.
    """

    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path
    api: httpx.Client
    caller: httpx.Client

    @property
    def endpoints(self) -> dict[str, Any]:
        return dict(json.loads((self.data_dir / "endpoints.json").read_text()))

    def apply(self, *documents: Mapping[str, Any], wait: str = "20s") -> httpx.Response:
        """Apply documents and insist that every node has them."""
        response = self.apply_any(*documents, wait=wait)
        assert response.status_code in (200, 201), response.text
        return response

    def apply_any(self, *documents: Mapping[str, Any], wait: str = "20s") -> httpx.Response:
        body = yaml.safe_dump_all(documents, allow_unicode=True)
        return self.api.post(
            "/api/v1/apply",
            params={"wait": wait},
            content=body.encode(),
            headers={"content-type": "application/yaml"},
        )

    def apply_json(self, documents: Sequence[Mapping[str, Any]], wait: str) -> None:
        """The same, for many documents: JSON is read sooner."""
        query = {"wait": wait}
        response = self.api.post("/api/v1/apply", params=query, json=documents, timeout=180)
        assert response.status_code == 200, response.text

    def run(self, proxy: str, variables: Mapping[str, Any], **fields: Any) -> httpx.Response:
        """The simplified call."""
        return self.caller.post(f"/p/{proxy}", json={"variables": dict(variables)} | fields)

    def envoy_counters(self) -> dict[str, int]:
        """Envoy's counters by name."""
        url = f"{self.endpoints['envoy_admin']}/stats?type=Counters"
        pairs = (line.rpartition(": ") for line in httpx.get(url).text.splitlines())
        return {name: int(value) for name, _, value in pairs}

    def logs(self) -> str:
        return self.log.read_text(errors="replace")


@contextmanager
def running_gateway(data_dir: Path, *arguments: str, **environment: str) -> Iterator[Gateway]:
    """`naru up` on free ports, ready; stopped with SIGINT when the block ends."""
    log = data_dir.with_suffix(".log")
    process = start_up(data_dir, log, *arguments, **environment)
    gateway: Gateway | None = None
    try:
        wait_for(lambda: _is_ready(process, data_dir, log), START_SECONDS, "readiness")
        gateway = _connect(process, data_dir, log)
        yield gateway
    finally:
        if gateway is not None:
            gateway.api.close()
            gateway.caller.close()
        stop(process)


def start_up(
    data_dir: Path, log: Path, *arguments: str, **environment: str
) -> subprocess.Popen[bytes]:
    """Start `naru up`, whose output goes to `log`; does not wait."""
    ports = {f"NARU_{name}_ADDRESS": f"127.0.0.1:{free_port()}" for name in _ADDRESSES}
    ports["NARU_ETCD_ENDPOINTS"] = f"127.0.0.1:{free_port()}"
    ports["NARU_ETCD_PEER_ADDRESS"] = f"127.0.0.1:{free_port()}"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("NARU_")}
    command = [sys.executable, "-m", "naru", "up", "--data-dir", str(data_dir), *arguments]
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=inherited | ports | environment,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes], seconds: float = 45) -> int:
    """Ctrl-C; its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def _is_ready(process: subprocess.Popen[bytes], data_dir: Path, log: Path) -> bool:
    assert process.poll() is None, f"naru up ended:\n{log.read_text()[-4000:]}"
    try:
        return bool(json.loads((data_dir / "endpoints.json").read_text())["ready"])
    except (FileNotFoundError, ValueError, KeyError):
        return False


def _connect(process: subprocess.Popen[bytes], data_dir: Path, log: Path) -> Gateway:
    endpoints = json.loads((data_dir / "endpoints.json").read_text())
    token = Path(endpoints["admin_token_file"]).read_text().strip()
    api = httpx.Client(
        base_url=endpoints["api"], headers={"authorization": f"Bearer {token}"}, timeout=60
    )
    caller = httpx.Client(base_url=endpoints["gateway"], timeout=60)
    return Gateway(process, data_dir, log, api, caller)
