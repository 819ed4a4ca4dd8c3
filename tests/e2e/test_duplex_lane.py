"""The duplex lane: tokens in the answer become text while it streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.support.gateway import Gateway, document
from tests.support.paced import Exchange, Paced, paced_upstream
from tests.support.provider import Provider

SHOP = '배민상회 "본점"'
RESTORE = {"[[SHOP]]": SHOP, "⟦동네⟧": "송파구"}
ASK = {"model": "m", "messages": [{"role": "user", "content": "Greet [[SHOP]] in ⟦동네⟧, please"}]}
WAYS = ("/p/restoring/v1/chat/completions", "/v1/chat/completions")


@pytest.fixture(scope="module")
def restoring(gateway: Gateway, provider: Provider) -> Iterator[str]:
    """A proxy to the strict provider, which answers what it was asked."""
    choice = {"name": "provider"}
    gateway.apply(document("Proxy", "restoring", {"upstreams": [choice], "restore": RESTORE}))
    yield "restoring"
    gateway.api.delete("/api/v1/proxies/restoring").raise_for_status()


@pytest.fixture(scope="module")
def paced(gateway: Gateway) -> Iterator[Paced]:
    """An upstream that answers when it is told to, behind the proxy `paced`."""
    with paced_upstream() as upstream:
        gateway.apply(
            document("Upstream", "paced", {"dialect": "openai", "url": upstream.url}),
            document("Proxy", "paced", {"upstreams": [{"name": "paced"}], "restore": RESTORE}),
        )
        yield upstream
        for path in ("proxies", "upstreams"):
            gateway.api.delete(f"/api/v1/{path}/paced").raise_for_status()


@contextmanager
def asking(gateway: Gateway, paced: Paced) -> Iterator[tuple[Exchange, httpx.Response]]:
    """A call whose answer has begun: both ends of it."""
    request = gateway.caller.build_request("POST", "/p/paced/v1/chat/completions", json=ASK)
    with httpx.Client(timeout=20) as client:
        sending = _Sending(client, request)
        exchange = paced.next()
        exchange.head()
        with sending.response() as response:
            yield exchange, response


class _Sending:
    """A request that is under way in a thread of its own."""

    def __init__(self, client: httpx.Client, request: httpx.Request) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(client.send, request, stream=True)

    @contextmanager
    def response(self) -> Iterator[httpx.Response]:
        response = self._future.result(10)
        try:
            yield response
        finally:
            response.close()
            self._pool.shutdown()


def event(content: str, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None} | more
    return b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


def text_of(events: bytes) -> str:
    """What a client that puts deltas together reads."""
    pieces = [
        json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content", "")
        for line in events.decode().splitlines()
        if line.startswith("data: {")
    ]
    return "".join(pieces)


@pytest.mark.parametrize("way", WAYS)
def test_an_answer(gateway: Gateway, provider: Provider, restoring: str, way: str) -> None:
    body = ASK | ({"model": restoring} if way == WAYS[1] else {})
    response = gateway.caller.post(way, json=body, headers={"accept-encoding": "gzip"})
    assert response.status_code == 200, response.text
    received = provider.by_request_id(response.headers["x-request-id"])
    assert received.contents == ["Greet [[SHOP]] in ⟦동네⟧, please"]  # it never learns the name
    assert received.headers["authorization"] == f"Bearer {provider.key}"
    assert "accept-encoding" not in received.headers
    content = response.json()["choices"][0]["message"]["content"]
    assert content == f"Greet {SHOP} in 송파구, please"
    assert response.headers["x-naru-plan"].startswith("restoring#")


@pytest.mark.parametrize("way", WAYS)
def test_a_stream(gateway: Gateway, restoring: str, way: str) -> None:
    body = ASK | {"stream": True} | ({"model": restoring} if way == WAYS[1] else {})
    with gateway.caller.stream("POST", way, json=body) as response:
        events = response.read()
    assert text_of(events) == f"Greet {SHOP} in 송파구, please "
    assert events.endswith(b"data: [DONE]\n\n")


def test_a_providers_refusal_comes_through(gateway: Gateway, restoring: str) -> None:
    body = ASK | {"unknown": "[[SHOP]]"}
    response = gateway.caller.post(f"/p/{restoring}/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert "Unrecognized request argument" in response.json()["error"]["message"]


def test_what_came_before_a_pause_has_arrived(gateway: Gateway, paced: Paced) -> None:
    with asking(gateway, paced) as (exchange, response):
        answer = response.iter_raw()
        exchange.send(event("Hello ") + event("[[SH"))
        first = next(answer)
        while b"[[" not in first and text_of(first) != "Hello ":
            first += next(answer)
        assert text_of(first) == "Hello "
        exchange.send(event("OP]] and") + event(" bye"))
        rest = next(answer)
        while text_of(rest) != f"{SHOP} and bye":
            rest += next(answer)
        exchange.send(b"data: [DONE]\n\n")
        exchange.end()
        assert b"".join(answer).endswith(b"[DONE]\n\n")


def test_chunks_of_one_byte(gateway: Gateway, paced: Paced) -> None:
    """Inside UTF-8 sequences, inside JSON escapes, inside the line ends."""
    escaped = json.dumps({"choices": [{"index": 0, "delta": {"content": "⟦동네⟧!"}}]}).encode()
    whole = event("a⟦동") + event("네⟧ ") + b"data: " + escaped + b"\r\n\r\n" + b"data: [DONE]\n\n"
    with asking(gateway, paced) as (exchange, response):
        for byte in whole:
            exchange.send(bytes([byte]))
        exchange.end()
        assert text_of(response.read()) == "a송파구 송파구!"


def test_what_is_held_at_the_end_is_not_lost(gateway: Gateway, paced: Paced) -> None:
    with asking(gateway, paced) as (exchange, response):
        exchange.send(event("x [[SHO"))
        exchange.end()
        assert text_of(response.read()) == "x [[SHO"


def test_a_caller_that_hangs_up_ends_the_call_upstream(gateway: Gateway, paced: Paced) -> None:
    with asking(gateway, paced) as (exchange, response):
        exchange.send(event("Hello "))
        next(response.iter_raw())
        response.close()
        assert exchange.gone.wait(5)


def test_an_upstream_that_breaks_off_breaks_the_answer_off(gateway: Gateway, paced: Paced) -> None:
    with asking(gateway, paced) as (exchange, response):
        answer = response.iter_raw()
        exchange.send(event("Hello "))
        next(answer)
        exchange.abort()
        with pytest.raises(httpx.RemoteProtocolError):
            list(answer)


def test_a_compressed_answer_is_refused(gateway: Gateway, paced: Paced) -> None:
    """It cannot be restored, and must not arrive as if it had been."""
    request = gateway.caller.build_request("POST", "/p/paced/v1/chat/completions", json=ASK)
    with httpx.Client(timeout=20) as client:
        sending = _Sending(client, request)
        exchange = paced.next()
        exchange.head("application/json\r\ncontent-encoding: gzip")
        with sending.response() as response:
            assert response.status_code == 502
            response.read()
            assert response.json()["error"]["code"] == "answer_unreadable"
