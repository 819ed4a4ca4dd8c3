"""Envoy's memory is bounded: near the limit it refuses new requests, and it lives."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import tour
from tests.support.gateway import Gateway, running_gateway, wait_for
from tests.support.provider import Provider

HEAP_MIB = 100
GOOD = {"dish": "kimchi", "mood": "warm"}
PIECE = b" " * (1 << 20)


@pytest.fixture
def small_gateway(tmp_path: Path, provider: Provider) -> Iterator[Gateway]:
    with running_gateway(tmp_path / "data", NARU_ENVOY_MAX_HEAP_MIB=str(HEAP_MIB)) as running:
        running.apply(*tour(provider))
        yield running


@contextlib.contextmanager
def half_sent(gateway: Gateway, mebibytes: int) -> Iterator[socket.socket]:
    """A request whose body is held so far, and not complete."""
    host, _, port = gateway.endpoints["gateway"].rpartition("/")[2].partition(":")
    head = f"POST /p/menu-copy HTTP/1.1\r\nhost: x\r\ncontent-length: {mebibytes + 1 << 20}\r\n"
    with socket.create_connection((host, int(port))) as connection:
        with contextlib.suppress(OSError):  # it may be given up while it is sent
            connection.sendall(head.encode() + b"content-type: application/json\r\n\r\n")
            for _ in range(mebibytes):
                connection.sendall(PIECE)
        yield connection


def not_ok(gateway: Gateway) -> httpx.Response | None:
    response = gateway.run("menu-copy", GOOD)
    return None if response.status_code == 200 else response


def test_more_bodies_than_memory(small_gateway: Gateway) -> None:
    gateway = small_gateway
    assert gateway.run("menu-copy", GOOD).status_code == 200
    (envoy,) = gateway.endpoints["pids"]["envoy"]
    with contextlib.ExitStack() as held:
        for _ in range(8):  # 200 MiB
            held.enter_context(half_sent(gateway, 25))
        refused = wait_for(lambda: not_ok(gateway), 20, "a refusal")
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "overloaded"
    wait_for(lambda: gateway.run("menu-copy", GOOD).status_code == 200, 20, "calls again")
    assert gateway.endpoints["pids"]["envoy"] == [envoy]
