"""Workers that are restarted, ended, killed and stopped under load: what fails, and what comes back.

A gateway of its own: the others must not be broken.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.conftest import tour
from tests.support.gateway import Gateway, document, running_gateway, wait_for
from tests.support.load import Load
from tests.support.paced import Exchange, Paced, paced_upstream
from tests.support.provider import Provider, running_provider

pytestmark = pytest.mark.timeout(300)

CALLERS = 8
TIMES = 3
GOOD = {"dish": "kimchi", "mood": "warm"}
RESTORE = {"[[A]]": "b"}
GATEWAYS_OWN = ("503 ", "504 ")


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider() as running:
        yield running


@pytest.fixture(scope="module", params=["1", "2"], ids=["one worker", "two workers"])
def gateway(
    tmp_path_factory: pytest.TempPathFactory, provider: Provider, request: pytest.FixtureRequest
) -> Iterator[Gateway]:
    data_dir: Path = tmp_path_factory.mktemp("workers") / "data"
    with running_gateway(data_dir, NARU_WORKERS=request.param) as running:
        running.apply(*tour(provider))
        yield running


@pytest.fixture(autouse=True)
def nothing_unprocessed(provider: Provider) -> Iterator[None]:
    """Whatever happens, the provider sees only what a worker has made."""
    provider.received.clear()
    yield
    assert provider.received
    for received in provider.received:
        assert "variables" not in received.body
        assert received.contents[0] == "Voice: warm"
        assert received.body["temperature"] == 0.2
        assert received.headers["authorization"] == f"Bearer {provider.key}"


def workers(gateway: Gateway) -> list[int]:
    return list(gateway.endpoints["pids"]["ext_proc"])


def nodes(gateway: Gateway) -> set[str]:
    return {"gateway", *(f"ext-proc-{index}" for index in range(len(workers(gateway))))}


def strike(gateway: Gateway, number: signal.Signals) -> None:
    """Send one worker a signal, and wait until another is in its place."""
    victim, *others = workers(gateway)
    os.kill(victim, number)
    wait_for(lambda: are_back(gateway, [victim], others), 30, f"another worker after {number.name}")


def are_back(gateway: Gateway, victims: list[int], others: Sequence[int] = ()) -> bool:
    """Whether there are as many workers as before, without the victims."""
    pids = workers(gateway)
    up = bool(gateway.endpoints["ready"]) and len(pids) == len(victims) + len(others)
    return up and not set(pids) & set(victims)


def restart(gateway: Gateway) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "naru", "--data-dir", str(gateway.data_dir), "restart"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_rolling_restart_fails_nothing(gateway: Gateway) -> None:
    with Load(gateway, CALLERS) as load:
        for _ in range(TIMES):
            old = workers(gateway)
            asked = restart(gateway)
            said, complaint = asked.communicate(timeout=60)
            assert asked.returncode == 0, complaint
            assert [line.split()[2] for line in said.splitlines()] == [str(pid) for pid in old]
            assert not set(workers(gateway)) & set(old)
            assert not [pid for pid in old if psutil.pid_exists(pid)]
            load.go_on(100)
    assert load.failures == []


def test_a_stream_goes_on_across_a_restart(gateway: Gateway, provider: Provider) -> None:
    """Its worker reads the answer to its end; the command does not wait for that."""
    with paced_upstream() as upstream:
        gateway.apply(
            document("Upstream", "paced", {"dialect": "openai", "url": upstream.url}),
            document("Proxy", "paced", {"upstreams": [{"name": "paced"}], "restore": RESTORE}),
        )
        with asking(gateway, upstream) as (exchange, response):
            pieces = response.iter_raw()
            exchange.send(event("[[A]] one"))
            read = next(pieces)
            old = set(workers(gateway))
            said, complaint = restart(gateway).communicate(timeout=60)
            assert (complaint, said.count("finishes its answers")) == ("", 1)
            (reading,) = (pid for pid in old if psutil.pid_exists(pid))
            assert not set(workers(gateway)) & old
            exchange.send(event("[[A]] two"))
            exchange.end()
            read += b"".join(pieces)
        assert read.index(b"b one") < read.index(b"b two")
        assert b"[[A]]" not in read
        wait_for(lambda: not psutil.pid_exists(reading), 30, "the end of the old worker")
        for path in ("proxies", "upstreams"):
            gateway.api.delete(f"/api/v1/{path}/paced").raise_for_status()
    assert gateway.run("menu-copy", GOOD).status_code == 200


def event(content: str) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


@contextmanager
def asking(gateway: Gateway, upstream: Paced) -> Iterator[tuple[Exchange, httpx.Response]]:
    """A call whose answer has begun: both ends of it."""
    body = {"model": "m", "messages": [{"role": "user", "content": "[[A]]"}]}
    request = gateway.caller.build_request("POST", "/p/paced/v1/chat/completions", json=body)
    with httpx.Client(timeout=60) as client, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(client.send, request, stream=True)
        exchange = upstream.next()
        exchange.head()
        response = sending.result(10)
        try:
            yield exchange, response
        finally:
            response.close()


def connected(gateway: Gateway) -> list[str]:
    nodes = gateway.api.get("/api/v1/status").json()["nodes"]
    return [node["id"] for node in nodes if node["connected"]]


def test_edits_meanwhile_are_acknowledged_by_every_worker(
    gateway: Gateway, provider: Provider
) -> None:
    """Old and new are one node to the control plane, which waits for both while both are there."""
    asked = restart(gateway)
    turn = 0
    while asked.poll() is None:
        turn += 1
        gateway.apply(edited(provider, f"turn {turn}"))
        assert f"turn {turn}" in gateway.run("menu-copy", GOOD).text
    assert asked.communicate()[1] == ""
    assert set(connected(gateway)) == nodes(gateway)
    assert turn > 1, "too few edits to mean anything"


def edited(provider: Provider, addition: str) -> dict[str, Any]:
    """The template of `menu-copy` with another message."""
    (template,) = (found for found in tour(provider) if found["kind"] == "Template")
    spec: Any = template["spec"]
    messages = [*spec["messages"], {"role": "user", "content": addition}]
    return template | {"spec": spec | {"messages": messages}}


def test_a_worker_that_is_asked_to_end_fails_nothing(gateway: Gateway) -> None:
    with Load(gateway, CALLERS) as load:
        for _ in range(TIMES):
            strike(gateway, signal.SIGTERM)
            load.go_on(100)
    assert load.failures == []


def test_a_killed_worker_takes_no_more_with_it_than_it_had(gateway: Gateway) -> None:
    for _ in range(TIMES):
        with Load(gateway, CALLERS) as load:
            strike(gateway, signal.SIGKILL)
            load.go_on(100)
        assert len(load.failures) <= CALLERS
        assert all(failure.startswith(GATEWAYS_OWN) for failure in load.failures), load.failures


def test_a_worker_that_hangs_is_found_and_replaced(gateway: Gateway) -> None:
    with Load(gateway, CALLERS) as load:
        strike(gateway, signal.SIGSTOP)
        load.go_on(10 * CALLERS)  # each caller has the answer to what was in it
        failed = len(load.failures)
        load.go_on(100)
    assert len(load.failures) == failed <= CALLERS, load.failures
    assert all(failure.startswith(GATEWAYS_OWN) for failure in load.failures), load.failures
    assert "does not answer, killing it" in gateway.logs()


def test_without_a_control_plane_workers_come_back_as_they_were(
    gateway: Gateway, provider: Provider
) -> None:
    old = workers(gateway)
    kept = [gateway.data_dir / "ext_proc" / f"ext-proc-{i}.lkg" for i in range(len(old))]
    before = [path.stat().st_mtime_ns for path in kept]
    gateway.apply(edited(provider, "the last one"))
    wait_for(
        lambda: all(
            path.stat().st_mtime_ns > then for path, then in zip(kept, before, strict=True)
        ),
        why="snapshots of the last edit",
    )
    with no_control_plane(gateway):
        for victim in old:
            os.kill(victim, signal.SIGKILL)
        wait_for(lambda: are_back(gateway, old), 30, "all workers")
        assert "the last one" in gateway.run("menu-copy", GOOD).text
        with Load(gateway, CALLERS) as load:
            load.go_on(100)
        assert load.failures == []
    assert gateway.logs().count("starting from the snapshot") == len(old)
    wait_for(lambda: set(connected(gateway)) == nodes(gateway), 30, "all nodes")
    gateway.apply(edited(provider, "one more"))
    assert "one more" in gateway.run("menu-copy", GOOD).text


class no_control_plane:  # noqa: N801 - used as a function
    """It is killed, and cannot start again: its key is not there."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._key = gateway.data_dir / "kek"
        self._aside = gateway.data_dir / "kek.aside"

    def __enter__(self) -> None:
        self._key.rename(self._aside)
        (victim,) = self._gateway.endpoints["pids"]["control_plane"]
        os.kill(victim, signal.SIGKILL)
        wait_for(
            lambda: "control_plane: exited with status" in self._gateway.logs(),
            30,
            "a control plane that cannot start",
        )

    def __exit__(self, *_: object) -> None:
        self._aside.rename(self._key)
        wait_for(self._answers, 60, "the control plane")

    def _answers(self) -> bool:
        try:
            return self._gateway.api.get("/readyz").status_code == 200
        except OSError:
            return False
        except Exception as error:
            if "httpx" in type(error).__module__:
                return False
            raise
