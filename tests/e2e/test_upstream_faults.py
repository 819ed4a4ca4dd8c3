"""An upstream that is down, slow or broken: a clear error in time, and nobody else is harmed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.support.faulty import Fault, faulty_server
from tests.support.gateway import Gateway, document, free_port

GOOD = {"dish": "bibimbap", "mood": "warm"}


@contextmanager
def proxy_to(gateway: Gateway, port: int, request_timeout: str = "1s") -> Iterator[None]:
    """The proxy `faulty`, whose upstream listens on `port`."""
    spec = {
        "dialect": "openai",
        "url": f"http://127.0.0.1:{port}/v1",
        "timeouts": {"connect": "500ms", "request": request_timeout},
    }
    gateway.apply(
        document("Upstream", "faulty", spec),
        document("Proxy", "faulty", {"upstreams": [{"name": "faulty"}], "template": "menu-copy"}),
    )
    try:
        yield
    finally:
        for path in ("proxies", "upstreams"):
            gateway.api.delete(f"/api/v1/{path}/faulty").raise_for_status()


def check(gateway: Gateway, status: int, code: str, within: float) -> None:
    started = time.monotonic()
    simple = gateway.run("faulty", GOOD)
    body = {"model": "faulty", "messages": [], "variables": GOOD}
    sdk = gateway.caller.post("/v1/chat/completions", json=body)
    assert time.monotonic() - started < 2 * within
    for response in (simple, sdk):
        assert response.status_code == status, response.text
        error = response.json()["error"]
        assert error["code"] == code
        assert error["request_id"] == response.headers["x-request-id"]
    assert gateway.run("menu-copy", GOOD).status_code == 200


def test_down(gateway: Gateway) -> None:
    with proxy_to(gateway, free_port()):
        check(gateway, 503, "upstream_unavailable", within=5)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("reset", 502, "upstream_reset"),
        ("close", 502, "upstream_reset"),
        ("garbage", 502, "upstream_reset"),
        ("hang", 504, "upstream_timeout"),
    ],
)
def test_broken(gateway: Gateway, fault: Fault, status: int, code: str) -> None:
    with faulty_server(fault) as port, proxy_to(gateway, port):
        check(gateway, status, code, within=5)


def test_an_answer_that_breaks_off_is_seen_to_break_off(gateway: Gateway) -> None:

    with faulty_server("half") as port, proxy_to(gateway, port), pytest.raises(httpx.HTTPError):
        gateway.run("faulty", GOOD)
    assert gateway.run("menu-copy", GOOD).status_code == 200
