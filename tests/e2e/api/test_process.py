"""The process: start, what keeps it from starting, etcd away, restart, stop."""

from __future__ import annotations

import base64
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.api import credential, upstream
from tests.support.control_plane import AdsClient, ControlPlaneProcess, until
from tests.support.etcd import EtcdProcess

CANARY = "sk-canary-77d0c1e2f3"


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdProcess]:
    with EtcdProcess(tmp_path / "etcd") as process:
        yield process


def test_it_makes_the_token_and_ends_in_good_order(
    shared_etcd: EtcdProcess, tmp_path: Path
) -> None:
    with ControlPlaneProcess(tmp_path, shared_etcd.endpoint) as process:
        assert stat.S_IMODE(process.token_file.stat().st_mode) == 0o600
        with process.client() as http, AdsClient(process.xds, "held"):
            until(lambda: bool(http.get("/api/v1/status").json()["nodes"]), 10)
            start = time.monotonic()
            assert process.stop() == 0
            assert time.monotonic() - start < 4
        assert process.token_file.read_text().strip() not in process.log()
        assert "Traceback" not in process.log()
        assert "ERROR" not in process.log()


def test_a_stop_does_not_wait_for_waiters(shared_etcd: EtcdProcess, tmp_path: Path) -> None:
    environ = {"NARU_DRAIN_SECONDS": "1"}
    with (
        ControlPlaneProcess(tmp_path, shared_etcd.endpoint, **environ) as process,
        process.client(60) as http,
    ):
        address = process.api.rpartition(":")
        with socket.create_connection((address[0], int(address[2]))) as waiting:
            token = process.token_file.read_text().strip()
            waiting.sendall(
                f"DELETE /api/v1/upstreams/x?wait=300s HTTP/1.1\r\nhost: x\r\n"
                f"authorization: Bearer {token}\r\n\r\n".encode()
            )
            assert b"404" in waiting.recv(64)
            request = upstream("held")
            body = str(request).replace("'", '"').encode()
            waiting.recv(65536)
            waiting.sendall(
                f"PUT /api/v1/upstreams/held?wait=300s HTTP/1.1\r\nhost: x\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
                f"authorization: Bearer {token}\r\n\r\n".encode()
                + body
            )
            until(lambda: http.get("/api/v1/upstreams/held").status_code == 200, 10)
            start = time.monotonic()
            process.stop()
            assert time.monotonic() - start < 10


def test_etcd_goes_away_and_comes_back(etcd: EtcdProcess, tmp_path: Path) -> None:
    with (
        ControlPlaneProcess(tmp_path / "cp", etcd.endpoint) as process,
        process.client() as http,
        AdsClient(process.xds, "node") as node,
    ):
        assert http.put("/api/v1/upstreams/openai?wait=10s", json=upstream()).status_code == 201
        etcd.kill()
        refused = http.put("/api/v1/upstreams/more", json=upstream("more"))
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "store_unavailable"
        assert "etcd" in refused.json()["error"]["message"]
        assert http.get("/api/v1/upstreams/openai").status_code == 200
        assert http.get("/readyz").status_code == 200
        tried = http.put("/api/v1/upstreams/more?dry_run=true", json=upstream("more"))
        assert tried.json()["difference"]
        until(lambda: http.get("/api/v1/status").json()["store"]["trouble"] is not None, 15)
        etcd.start()
        until(lambda: _put(http, "more") == 201, 15)
        assert http.put("/api/v1/upstreams/last?wait=10s", json=upstream("last")).status_code == 201
        assert node.received


def _put(http: httpx.Client, name: str) -> int:
    return http.put(f"/api/v1/upstreams/{name}", json=upstream(name)).status_code


def test_it_starts_without_etcd_and_says_what_is_missing(etcd: EtcdProcess, tmp_path: Path) -> None:
    etcd.stop()
    process = ControlPlaneProcess(tmp_path / "cp", etcd.endpoint)
    with process_spawned(process), process.client() as http:
        ready = http.get("/readyz")
        assert ready.status_code == 503
        assert "etcd has not been read" in ready.json()["missing"][0]
        assert http.get("/healthz").status_code == 200
        etcd.start()
        until(lambda: http.get("/readyz").status_code == 200, 15)


class process_spawned:  # noqa: N801  (reads as a context)
    """A process that need not become ready."""

    def __init__(self, process: ControlPlaneProcess) -> None:
        self._process = process

    def __enter__(self) -> None:
        self._process.spawn()
        until(lambda: "API on" in self._process.log(), 30, self._process.log)

    def __exit__(self, *_: object) -> None:
        self._process.stop()


def test_a_secret_survives_a_restart_and_is_nowhere_in_the_clear(
    etcd: EtcdProcess, tmp_path: Path
) -> None:
    answers: list[str] = []
    etags: set[str] = set()
    for attempt in range(2):
        with (
            ControlPlaneProcess(tmp_path / "cp", etcd.endpoint) as process,
            process.client() as http,
        ):
            http.event_hooks = {"response": [lambda r: answers.append(f"{r.headers}{r.read()!r}")]}
            if attempt == 0:
                assert http.put(
                    "/api/v1/credentials/key", json=credential(secret=CANARY)
                ).is_success
            http.put("/api/v1/credentials/key", json=credential(secret=CANARY + "\n"))
            unchanged = http.put("/api/v1/credentials/key", json=credential(secret=CANARY))
            etags.add(unchanged.headers["etag"])
            http.get("/api/v1/credentials/key")
            http.get("/api/v1/status")
            process.stop()
            assert CANARY not in process.log()
    assert len(etags) == 1
    assert CANARY not in "".join(answers)
    assert CANARY not in etcd.ctl("get", "", "--prefix")
    on_disk = b"".join(p.read_bytes() for p in etcd.data_dir.rglob("*") if p.is_file())
    assert CANARY.encode() not in on_disk
    assert b"credentials/key" in on_disk


class TestWhatKeepsItFromStarting:
    def refused(self, directory: Path, **environ: str) -> tuple[int, str]:
        process = ControlPlaneProcess(directory, "127.0.0.1:1", **environ)
        code = process.spawn().wait(30)
        assert "Traceback" not in process.log()
        return code, process.log()

    def test_a_taken_port(self, tmp_path: Path) -> None:
        for name in ("NARU_API_ADDRESS", "NARU_XDS_ADDRESS"):
            with socket.create_server(("127.0.0.1", 0)) as taken:
                address = f"127.0.0.1:{taken.getsockname()[1]}"
                code, log = self.refused(tmp_path, **{name: address})
            assert code == 1
            assert name in log
            assert address in log

    def test_no_key(self, tmp_path: Path) -> None:
        code, log = self.refused(tmp_path, NARU_KEK="")
        assert code == 1
        assert "NARU_KEK" in log

    def test_a_key_that_is_none(self, tmp_path: Path) -> None:
        code, log = self.refused(tmp_path, NARU_KEK=CANARY)
        assert code == 1
        assert CANARY not in log

    def test_a_token_that_others_can_read(self, tmp_path: Path) -> None:
        (tmp_path / "admin-token").write_text("a-token-of-sufficient-length")
        (tmp_path / "admin-token").chmod(0o644)
        code, log = self.refused(tmp_path)
        assert code == 1
        assert "0644" in log

    def test_settings(self, tmp_path: Path) -> None:
        code, log = self.refused(tmp_path, NARU_API_ADDRESS="nowhere", NARU_DRAIN_SECONDS="x")
        assert code == 2
        assert "NARU_API_ADDRESS" in log
        assert "NARU_DRAIN_SECONDS" in log


def test_with_a_wrong_key_it_serves_nothing_and_takes_nothing_away(
    etcd: EtcdProcess, tmp_path: Path
) -> None:
    """A data plane that has the configuration keeps it, for nobody tells it otherwise."""
    with ControlPlaneProcess(tmp_path / "cp", etcd.endpoint) as right, right.client() as http:
        assert http.put("/api/v1/credentials/key", json=credential(secret=CANARY)).is_success
        right.stop()
    other = base64.b64encode(b"another key of thirty-two bytes!").decode()
    wrong = ControlPlaneProcess(tmp_path / "cp", etcd.endpoint, NARU_KEK=other)
    with process_spawned(wrong), wrong.client() as http:
        until(lambda: "nothing is served" in wrong.log(), 20, wrong.log)
        ready = http.get("/readyz")
        assert ready.status_code == 503
        assert "key-encryption key" in ready.json()["missing"][0]
        refused = http.put("/api/v1/credentials/new", json=credential("new", secret="other-secret"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (500, "wrong_kek")
    with ControlPlaneProcess(tmp_path / "cp", etcd.endpoint) as right, right.client() as http:
        assert http.get("/api/v1/credentials/key").status_code == 200
        right.stop()
