"""Large bodies over real sockets: refused while they arrive, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.api import template, upstream
from tests.support.control_plane import ControlPlaneProcess
from tests.support.etcd import EtcdProcess

MIB = 1024 * 1024
LARGE = ("--max-txn-ops=10240", "--max-request-bytes=33554432")
JSON = {"content-type": "application/json"}


def megabytes(count: int) -> Iterator[bytes]:
    block = b"x" * MIB
    for _ in range(count):
        yield block


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/v1/apply"), ("PUT", "/api/v1/upstreams/openai")]
)
@pytest.mark.parametrize("announced", [True, False])
def test_100_megabytes(
    running: ControlPlaneProcess, http: httpx.Client, method: str, path: str, announced: bool
) -> None:
    assert running.process is not None
    memory = psutil.Process(running.process.pid)
    before = memory.memory_info().rss
    headers = JSON | ({"content-length": str(100 * MIB)} if announced else {})
    refused = http.request(method, path, content=megabytes(100), headers=headers)
    assert refused.status_code == 413
    assert refused.json()["error"]["code"] == "body_too_large"
    assert memory.memory_info().rss - before < 64 * MIB
    assert http.get("/api/v1/upstreams").json()["items"] == []


def test_without_the_token_a_large_body_gets_401(http: httpx.Client) -> None:
    headers = JSON | {"authorization": "Bearer wrong"}
    refused = http.post("/api/v1/apply", content=megabytes(100), headers=headers)
    assert refused.status_code == 401


def test_five_thousand_documents_in_one_transaction(tmp_path: Path) -> None:
    with (
        EtcdProcess(tmp_path / "etcd", LARGE) as etcd,
        ControlPlaneProcess(tmp_path / "cp", etcd.endpoint) as process,
        process.client(60) as http,
    ):
        apply_five_thousand(http)


def apply_five_thousand(http: httpx.Client) -> None:
    documents = [template(f"t{i}", "x" * 2000 + "{{ dish }}") for i in range(5_000)]
    body = json.dumps(documents).encode()
    assert len(body) > 8 * MIB
    done = http.post("/api/v1/apply", content=body, headers=JSON)
    assert done.status_code == 200, done.text[:500]
    revision = done.json()["revision"]
    first = http.get("/api/v1/templates/t0").json()["metadata"]["revision"]
    last = http.get("/api/v1/templates/t4999").json()["metadata"]["revision"]
    assert first == last == revision
    one_more = [upstream(f"u{i}") for i in range(5_001)]
    assert http.post("/api/v1/apply", json=one_more).status_code == 413


def test_what_etcd_does_not_take_in_one_piece_is_413_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    """An etcd with its own limits: 128 operations, 1.5 MiB."""
    with (
        EtcdProcess(tmp_path / "etcd") as etcd,
        ControlPlaneProcess(tmp_path / "cp", etcd.endpoint) as process,
        process.client() as http,
    ):
        many = http.post("/api/v1/apply", json=[upstream(f"u{i}") for i in range(200)])
        large = http.post(
            "/api/v1/apply", json=[template(f"t{i}", "x" * 60_000) for i in range(40)]
        )
        for refused in (many, large):
            assert refused.status_code == 413, refused.text
            assert refused.json()["error"]["code"] == "too_large"
        for kind in ("upstreams", "templates"):
            assert http.get(f"/api/v1/{kind}").json()["items"] == []
        few = http.post("/api/v1/apply", json=[upstream(f"u{i}") for i in range(100)])
        assert few.status_code == 200
