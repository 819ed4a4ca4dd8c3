"""The control plane as its own process, and a small ADS client that answers as it is told."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import httpx
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from control_plane.compile import TYPES

START_TIMEOUT = 30.0
REPOSITORY = Path(__file__).parents[2]


class ControlPlaneProcess:
    """One control plane on free ports; `environ` is added to its variables."""

    def __init__(
        self, directory: Path, etcd: str, module: str = "control_plane.main", **environ: str
    ) -> None:
        self._module = module
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.token_file = directory / "admin-token"
        self.log_file = directory / "control-plane.log"
        self._environ = {
            "PATH": os.environ["PATH"],
            "PYTHONUNBUFFERED": "1",
            "NARU_DATA_DIR": str(directory),
            "NARU_ETCD_ENDPOINTS": etcd,
            "NARU_API_ADDRESS": "127.0.0.1:0",
            "NARU_XDS_ADDRESS": "127.0.0.1:0",
            "NARU_KEK": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            **environ,
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def api(self) -> str:
        return self._address("API on http://")

    @property
    def xds(self) -> str:
        return self._address("xDS on ")

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        self.spawn()
        until(self._ready, START_TIMEOUT, lambda: f"not ready: {self.log()}")

    def spawn(self) -> subprocess.Popen[bytes]:
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                cwd=REPOSITORY, env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        return self.process

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def client(self, timeout: float = 20.0) -> httpx.Client:
        token = self.token_file.read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        return httpx.Client(base_url=f"http://{self.api}", headers=headers, timeout=timeout)

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kill()

    def _kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def _address(self, label: str) -> str:
        match = re.search(re.escape(label) + r"([0-9.:]+)", self.log())
        assert match is not None, self.log()
        return match[1]

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        if "API on" not in self.log():
            return False
        return httpx.get(f"http://{self.api}/readyz").status_code == 200


class AdsClient:
    """One node on a state-of-the-world stream: subscribes to everything, and ACKs it.

    What holds a resource with the bytes `refuses` in it, it NACKs with `words`. `answering` off: it
    reads and says nothing.
    """

    def __init__(self, address: str, node: str, refuses: bytes = b"", words: str = "") -> None:
        self.refuses = refuses
        self.words = words
        self.answering = True
        self.received: list[DiscoveryResponse] = []
        self._node = node
        self._requests: queue.Queue[DiscoveryRequest | None] = queue.Queue()
        self._channel = grpc.insecure_channel(address)
        call = self._channel.stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
            request_serializer=DiscoveryRequest.SerializeToString,
            response_deserializer=DiscoveryResponse.FromString,
        )
        self._accepted: dict[str, str] = {}
        self._stream: Any = call(iter(self._requests.get, None))
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        for type_url in TYPES:
            # an empty list means everything for listeners and clusters only
            request = DiscoveryRequest(type_url=type_url, resource_names=["*"])
            request.node.id = self._node
            self._requests.put(request)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.cancel()
        self._requests.put(None)
        self._reader.join(10)
        self._channel.close()

    def _read(self) -> None:
        try:
            for response in self._stream:
                self.received.append(response)
                if self.answering:
                    self._requests.put(self._answer(response))
        except grpc.RpcError:
            pass

    def _answer(self, response: DiscoveryResponse) -> DiscoveryRequest:
        type_url = response.type_url
        request = DiscoveryRequest(
            type_url=type_url, resource_names=["*"], response_nonce=response.nonce
        )
        bad = self.refuses and any(self.refuses in each.value for each in response.resources)
        if not bad:
            self._accepted[type_url] = response.version_info
        else:
            request.error_detail.code = 3
            request.error_detail.message = self.words
        request.version_info = self._accepted.get(type_url, "")
        return request


def until(
    holds: Callable[[], bool], seconds: float, why: Callable[[], str] = lambda: "too late"
) -> None:
    """Waits until it holds."""
    for _ in attempts(seconds):
        if holds():
            return
    raise AssertionError(why())


def attempts(seconds: float, pause: float = 0.02) -> Iterator[None]:
    """Yields until the time is over, with a pause in between."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(pause)
