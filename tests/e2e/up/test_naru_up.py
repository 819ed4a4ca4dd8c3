"""`naru up` with the real parts, as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.gateway import (
    Gateway,
    document,
    running_gateway,
    start_up,
    stop,
    wait_for,
)

KEYS = {
    "ready",
    "gateway",
    "api",
    "xds",
    "envoy_admin",
    "etcd",
    "redis",
    "admin_token_file",
    "pids",
}
GROUPS = {
    "etcd", "redis", "control_plane", "ext_proc", "ratelimit", "failover", "envoy", "bentos",
}  # fmt: skip


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def processes(gateway: Gateway) -> list[psutil.Process]:
    """Every process of this run, grandchildren included."""
    named = [psutil.Process(p) for pids in gateway.endpoints["pids"].values() for p in pids]
    tree = psutil.Process(gateway.process.pid).children(recursive=True)
    return list({process.pid: process for process in (*named, *tree)}.values())


def wait_until_gone(left: list[psutil.Process], seconds: float = 30) -> None:
    wait_for(lambda: not [p for p in left if _alive(p)], seconds, f"the end of {left}")


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def naru(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "naru", "--data-dir", str(data_dir), *arguments]
    env = {k: v for k, v in os.environ.items() if not k.startswith("NARU_")}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)


def test_a_run_from_start_to_stop(tmp_path: Path) -> None:
    data_dir = tmp_path / ("a-long-name-" * 8)  # sockets in it would be too long
    with running_gateway(data_dir) as gateway:
        endpoints = gateway.endpoints
        assert set(endpoints) == KEYS
        assert set(endpoints["pids"]) == GROUPS
        family = processes(gateway)
        pids = {p for listed in endpoints["pids"].values() for p in listed}
        assert pids <= {process.pid for process in family}
        assert len(endpoints["pids"]["ext_proc"]) == max(1, len(os.sched_getaffinity(0)) // 2)

        status = naru(data_dir, "status", "-o", "json")
        assert status.returncode == 0, status.stderr
        nodes = {node["id"]: node["connected"] for node in json.loads(status.stdout)["nodes"]}
        assert nodes["gateway"]
        assert gateway.caller.post("/p/nobody").status_code == 404

        for name in ("kek", "admin-token", "endpoints.json"):
            assert stat.S_IMODE((data_dir / name).stat().st_mode) == 0o600
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700

        second = naru(data_dir, "up")
        assert second.returncode == 1
        assert f"pid {gateway.process.pid}" in second.stderr

        code = stop(gateway.process)
        assert code == 0, gateway.logs()
    assert not [process for process in family if _alive(process)]
    assert not (data_dir / "endpoints.json").exists()
    _check_log(data_dir, gateway.logs())


def _check_log(data_dir: Path, log: str) -> None:
    for secret in ("kek", "admin-token"):
        assert (data_dir / secret).read_text().strip() not in log
    assert "\x1b" not in log
    assert {line.partition("|")[0].strip() for line in log.splitlines()} >= {
        "naru",
        "etcd",
        "envoy",
    }
    ready = [line.split()[2] for line in log.splitlines() if ": ready after" in line]
    parts = [name.rstrip(":").partition(".")[0] for name in ready]
    first, second, *third, last = dict.fromkeys(parts)
    assert (first, second, last) == ("etcd", "control_plane", "envoy")
    assert set(third) == {"failover", "ext_proc"}


def test_data_survives_a_restart_and_a_killed_part_comes_back(data_dir: Path) -> None:
    upstream = document("Upstream", "local", {"dialect": "openai", "url": "http://127.0.0.1:9/v1"})
    with running_gateway(data_dir) as gateway:
        gateway.apply(upstream)
    with running_gateway(data_dir) as gateway:
        assert naru(data_dir, "get", "upstream", "local").returncode == 0
        for group in ("envoy", "ext_proc", "control_plane", "etcd"):
            _kill_and_wait(gateway, group)
        # All parts together again: a change still goes all the way.
        gateway.apply(upstream | {"metadata": {"name": "other"}})


def _kill_and_wait(gateway: Gateway, group: str) -> None:
    old = gateway.endpoints["pids"][group][0]
    os.kill(old, signal.SIGKILL)

    def back() -> bool:
        endpoints = gateway.endpoints
        pids = endpoints["pids"][group]
        return bool(endpoints["ready"] and pids and old not in pids)

    wait_for(back, 40, f"{group} after its kill")
    # Not only a new pid: its API answers.
    if group in ("control_plane", "etcd"):
        wait_for(lambda: _api_answers(gateway), 40, "the API")


def _api_answers(gateway: Gateway) -> bool:
    try:
        return gateway.api.get("/readyz").status_code == 200
    except OSError:
        return False
    except Exception as error:
        if "httpx" in type(error).__module__:
            return False
        raise


def test_workers_that_cannot_share_a_socket_are_restarted_too(data_dir: Path) -> None:
    with running_gateway(data_dir, NARU_TRANSPORT="grpcio", NARU_WORKERS="2") as gateway:
        old = gateway.endpoints["pids"]["ext_proc"]
        asked = naru(data_dir, "restart")
        assert asked.returncode == 0, asked.stderr
        assert [line.split()[2] for line in asked.stdout.splitlines()] == [str(p) for p in old]
        wait_for(lambda: gateway.endpoints["ready"], 20, "readiness")
        assert not set(gateway.endpoints["pids"]["ext_proc"]) & set(old)
    assert not [path for path in (data_dir / "run").iterdir() if path.suffix == ".sock"]
    assert naru(data_dir, "restart").returncode == 3


@pytest.mark.parametrize("victim", ["guard", "supervisor"])
def test_kill_leaves_no_process(data_dir: Path, victim: str) -> None:
    with running_gateway(data_dir) as gateway:
        family = processes(gateway)
        if victim == "guard":
            gateway.process.kill()
        else:
            (supervisor,) = psutil.Process(gateway.process.pid).children()
            supervisor.kill()
        wait_until_gone(family)
        assert gateway.process.wait(20) != 0
    if victim == "supervisor":
        assert not (data_dir / "endpoints.json").exists()


def test_ctrl_c_lets_a_request_finish(data_dir: Path) -> None:
    with slow_upstream() as upstream, running_gateway(data_dir) as gateway:
        spec = {"dialect": "openai", "url": f"{upstream.url}/v1"}
        choice = {"upstreams": [{"name": "slow"}]}
        gateway.apply(document("Upstream", "slow", spec), document("Proxy", "slow", choice))
        with ThreadPoolExecutor(1) as pool:
            body = {"messages": [{"role": "user", "content": "hi"}], "model": "m"}
            call = pool.submit(gateway.caller.post, "/p/slow/v1/chat/completions", json=body)
            assert upstream.asked.wait(20)
            gateway.process.send_signal(signal.SIGINT)
            wait_for(lambda: "stopping" in gateway.logs(), 10, "the first Ctrl-C")
            upstream.go_on.set()
            assert call.result(20).status_code == 200
        assert gateway.process.wait(30) == 0


def test_ctrl_c_twice_waits_for_nobody(data_dir: Path) -> None:
    with slow_upstream() as upstream, running_gateway(data_dir) as gateway:
        spec = {"dialect": "openai", "url": f"{upstream.url}/v1"}
        choice = {"upstreams": [{"name": "slow"}]}
        gateway.apply(document("Upstream", "slow", spec), document("Proxy", "slow", choice))
        with ThreadPoolExecutor(1) as pool:
            body = {"messages": [{"role": "user", "content": "hi"}], "model": "m"}
            call = pool.submit(gateway.caller.post, "/p/slow/v1/chat/completions", json=body)
            assert upstream.asked.wait(20)
            gateway.process.send_signal(signal.SIGINT)
            wait_for(lambda: "stopping" in gateway.logs(), 10, "the first Ctrl-C")
            gateway.process.send_signal(signal.SIGINT)
            assert gateway.process.wait(15) == 0
            assert call.exception(20) is not None
            upstream.go_on.set()


def test_a_taken_port_that_was_asked_for(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        output = _failing_start(data_dir, NARU_API_ADDRESS=address)
    assert f"api cannot listen on {address}" in output
    assert "NARU_API_ADDRESS" in output


def test_a_taken_default_port(data_dir: Path) -> None:
    holder = socket.socket()
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 10000))
        holder.listen()
    except OSError:
        pass  # something else has it, which does as well
    with holder, running_gateway(data_dir, NARU_GATEWAY_ADDRESS="") as gateway:
        assert "gateway: port 10000 is taken, using 127.0.0.1:" in gateway.logs()
        assert not gateway.endpoints["gateway"].endswith(":10000")
        assert gateway.caller.post("/p/nobody").status_code == 404


def test_a_part_that_exits_at_once(data_dir: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken-envoy"
    broken.write_text("#!/bin/sh\necho this machine has no luck\nexit 9\n")
    broken.chmod(0o755)
    output = _failing_start(data_dir, NARU_ENVOY_BINARY=str(broken))
    assert "envoy exited with status 9" in output
    assert "\n    this machine has no luck" in output


def test_a_part_that_is_missing(data_dir: Path) -> None:
    output = _failing_start(data_dir, NARU_ETCD_BINARY="/nonexistent/etcd")
    assert "There is no etcd binary at /nonexistent/etcd" in output
    assert "Traceback" not in output


def _failing_start(data_dir: Path, **environment: str) -> str:
    log = data_dir.with_suffix(".log")
    process = start_up(data_dir, log, **environment)
    try:
        assert process.wait(60) == 1, log.read_text()
    finally:
        stop(process)
    assert not (data_dir / "endpoints.json").exists()
    return log.read_text()


class SlowUpstream:
    """Answers only when `go_on` is set; `asked` says that a request has come."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                outer.asked.set()
                outer.go_on.wait(60)
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def slow_upstream() -> Iterator[SlowUpstream]:
    upstream = SlowUpstream()
    thread = threading.Thread(target=upstream.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield upstream
    finally:
        upstream.go_on.set()
        upstream.server.shutdown()
        thread.join()
        upstream.server.server_close()
