"""The load clients, against the benchmark's own provider."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bench import upstream
from bench.arena import provider
from bench.contestants import Request, Upstream
from bench.contestants._model import chat_body
from bench.load import _streams, closed_loop, find_wrk, open_loop, streams, wrk
from bench.load._calls import Histogram, Task
from bench.load._wrk import script


@pytest.fixture(scope="module")
def running() -> Iterator[Upstream]:
    with provider() as found:
        yield found


@pytest.fixture
def request_(running: Upstream) -> Request:
    url = f"{running.base()}/chat/completions"
    return Request(url, chat_body("m"), {"authorization": f"Bearer {upstream.KEY}"})


def stats(running: Upstream) -> dict[str, Any]:
    return dict(httpx.get(f"http://127.0.0.1:{running.port}/stats").json())


def tools() -> list[Any]:
    return [
        closed_loop,
        pytest.param(wrk, marks=pytest.mark.skipif(not find_wrk(), reason="wrk is not installed")),
    ]


@pytest.mark.parametrize("tool", tools())
def test_closed_loop_counts_what_reached_the_provider(
    tool: Any, running: Upstream, request_: Request
) -> None:
    before = stats(running)["requests"]
    load = tool(request_, 4, 1.0)
    assert not load.errors
    assert 0 < load.requests <= stats(running)["requests"] - before <= load.requests + 4
    assert 0 < load.p50_ms <= load.p99_ms <= load.max_ms * 1.02
    assert load.cpu_seconds > 0


@pytest.mark.parametrize("tool", tools())
def test_refusals_are_errors(tool: Any, request_: Request) -> None:
    load = tool(Request(request_.url, request_.body), 2, 1.0)
    assert sum(load.errors.values()) > 0


def test_open_loop_sends_at_its_rate(running: Upstream, request_: Request) -> None:
    before = stats(running)["requests"]
    found = open_loop(request_, 200, 1.0, 16, lambda _: None)
    assert found["errors"] == {}
    assert found["sent"] == found["requests"] == stats(running)["requests"] - before
    assert found["sent"] in range(190, 211)


def streamed(request: Request, pacing: str) -> Request:
    body = json.dumps(json.loads(request.body) | {"stream": True}).encode()
    return Request(request.url, body, {**request.headers, "x-bench-stream": pacing})


@pytest.mark.parametrize("pace", ["0", "1"])
def test_streams_are_read_and_checked(pace: str, request_: Request) -> None:
    asked = streamed(request_, f"30,{pace}")
    found = streams(asked, 3, 0.2, 30, upstream.stream_text(30), "")
    assert found["errors"] == {}
    assert found["streams"] >= 3
    assert found["events"] == found["streams"] * 32
    assert streams(asked, 2, 0.0, 30, "another text", "")["errors"] == {
        "text": 2,
        "fewer whole streams than connections": 2,
    }


HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"11\r\ndata: {"
REFUSED = b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "closes", "error"),
    [
        ([], True, "connection lost"),
        ([HEAD], True, "connection lost"),
        ([HEAD, EVENT], True, "connection lost"),
        ([HEAD, EVENT[:4] + b"\r\n\r\n"], True, "connection lost"),
        ([HEAD + b"0\r\n\r\n"], False, "no [DONE]"),
        ([REFUSED, b"busy"], False, "status 503"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"], False, "not a stream"),
    ],
)
def test_a_stream_that_is_not_whole_is_an_error(
    pieces: list[bytes], closes: bool, error: str
) -> None:
    found = asyncio.run(_streamed_from(pieces, closes))
    assert found["errors"] == {error: 2, "fewer whole streams than connections": 2}
    assert found["streams"] == 0


async def _streamed_from(pieces: list[bytes], closes: bool) -> dict[str, Any]:
    """What two streams find at a server that answers with these pieces."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if not closes:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        task = Task(f"http://127.0.0.1:{port}/", "{}", {}, connections=2, seconds=0)
        async with asyncio.timeout(10):
            return await _streams.run(_streams.StreamTask(task, 1, "text"))


def test_a_latency_is_within_its_step() -> None:
    histogram = Histogram()
    for micros in range(1, 10001):
        histogram.add(micros / 1e6)
    assert histogram.count == 10000
    assert histogram.percentile_ms(50) == pytest.approx(5.0, rel=0.02)
    assert histogram.percentile_ms(99) == pytest.approx(9.9, rel=0.02)
    assert histogram.worst == pytest.approx(0.01)


def test_the_script_quotes_what_lua_would_read() -> None:
    text = script(Request("http://h/p?q", '{"a": "한\\n"}'.encode(), {"x": 'a"b'}))
    assert r'wrk.headers["x"] = "a\034b"' in text
    assert r'wrk.body = "{\034a\034: \034\237\149\156\092n\034}"' in text
    assert 'wrk.path = "/p"' in text
