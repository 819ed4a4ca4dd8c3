"""Connections that hold a place and never ask; the clock is the test's own."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any, cast

import pytest
from fastapi import FastAPI
from uvicorn.server import ServerState

from control_plane import _web
from control_plane._web import HEAD_SECONDS, KEEP_ALIVE_SECONDS, Protocol, web_config


class Timer:
    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self.seconds, self.call, self.cancelled = seconds, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Task:
    def add_done_callback(self, call: object) -> None: ...


class Loop:
    """Of an event loop what a connection uses; requests are noted and stay unanswered."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []
        self.requests = 0

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(seconds, call))
        return self.timers[-1]

    def create_task(self, work: Any, **_: Any) -> Task:
        work.close()
        self.requests += 1
        return Task()

    def waiting(self) -> list[float]:
        return [timer.seconds for timer in self.timers if not timer.cancelled]

    def expire(self) -> None:
        for timer in [timer for timer in self.timers if not timer.cancelled]:
            timer.cancelled = True
            timer.call()


class Transport:
    def __init__(self) -> None:
        self.written, self.closed = b"", False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Client:
    def __init__(self, state: ServerState | None = None) -> None:
        self.loop, self.transport = Loop(), Transport()
        config = web_config(FastAPI(), 5)
        made = Protocol(config, state or ServerState(), {}, _loop=cast(Any, self.loop))
        self.protocol = made
        made.connection_made(cast(Any, self.transport))

    def send(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def be_answered(self) -> None:
        """As `RequestResponseCycle.send` does it, of which only the states count here."""
        answer = {"type": "http.response.start", "status": 200, "headers": []}
        end = {"type": "http.response.body", "body": b"", "more_body": False}
        for message in (answer, end):
            with pytest.raises(StopIteration):
                self.protocol.cycle.send(cast(Any, message)).send(None)


def test_half_a_head_is_answered_408() -> None:
    client = Client()
    client.send(b"GET /healthz HTTP/1.1\r\nhost:")
    client.send(b" a\r\nx-slow: 1\r\n")
    assert client.loop.waiting() == [HEAD_SECONDS], "one deadline, however often something comes"
    client.loop.expire()
    assert client.transport.written.startswith(b"HTTP/1.1 408 ")
    assert client.transport.closed


def test_one_that_sends_nothing_is_closed() -> None:
    client = Client()
    client.loop.expire()
    assert client.transport.closed
    assert not client.transport.written


def test_a_request_has_no_deadline_here_once_its_head_is_read() -> None:
    client = Client()
    client.send(b"PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n")
    client.send(b"12")
    assert client.loop.requests == 1
    assert not client.loop.waiting()


def test_an_idle_connection_is_kept() -> None:
    client = Client()
    for _ in range(2):
        client.send(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n")
        client.be_answered()
        assert client.loop.waiting() == [KEEP_ALIVE_SECONDS]
    client.send(b"GET /a HT")
    assert client.loop.waiting() == [HEAD_SECONDS]


def test_a_body_that_was_answered_does_not_trickle_for_ever() -> None:
    client = Client()
    client.send(b"PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n")
    client.be_answered()
    client.send(b"1")
    client.send(b"2")
    assert client.loop.waiting() == [HEAD_SECONDS]
    client.loop.expire()
    assert client.transport.closed


def test_one_too_many_is_answered_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_web, "MAX_CONNECTIONS", 2)
    state = ServerState()
    first, second, third = (Client(state) for _ in range(3))
    assert [each.transport.closed for each in (first, second, third)] == [False, False, True]
    assert third.transport.written.startswith(b"HTTP/1.1 503 ")
    assert not third.loop.waiting()
    third.protocol.connection_lost(None)
    first.protocol.connection_lost(None)
    assert not Client(state).transport.closed


@pytest.mark.parametrize(("files", "most"), [(400, 200), (1 << 20, 1024), (-1, 1024)])
def test_the_bound_leaves_files_for_the_rest(
    monkeypatch: pytest.MonkeyPatch, files: int, most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert _web.max_connections() == most
