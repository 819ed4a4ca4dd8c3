"""The provider of all contestants: a fixed answer, checked requests, little CPU.

It is not a test's provider (`tests/support/provider.py`): it parses only what it must, so that it
is not what is measured. It counts what is wrong with the requests that reach it; a run in which
anything was wrong is invalid.

    POST /plain/v1/chat/completions        the caller's own messages, and the provider's key
    POST /template/v1/chat/completions     messages that a template made, and the provider's key
    GET  /stats                            what came so far, as JSON

The header `x-bench-stream: {events},{ms between two events}` says what `"stream": true` answers.

    python -m bench.upstream        prints its port; runs until its standard input ends
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

KEY: Final = "sk-provider-4f1c2e"
"""The provider's key; callers never have it."""
MARK: Final = "[[SHOP]]"
"""What the duplex lane replaces in every answer."""
SYSTEM: Final = "You write menus for a small restaurant. Be kind, be short."
"""How the template of the lane `request` begins."""
TEXT: Final = "Kimchi fried rice"
"""Part of what every caller asks."""

STREAM_HEADER: Final = "x-bench-stream"

_WORDS: Final = ("Warm", " rice", " and", " kimchi", " at", " [[", "SHOP", "]]", ",", " every day.")
_EVENTS: Final = 400
_ANSWER: Final = f"{MARK} serves a warm bowl of kimchi fried rice, with an egg on top. " * 5


@dataclass
class Stats:
    """What came so far. `mistakes` counts requests by what was wrong with them.

    What a gateway asks on its own (LiteLLM looks for models) is in `others`, and no mistake.
    """

    requests: int = 0
    streams: int = 0
    mistakes: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)


def completion() -> dict[str, object]:
    """The answer: what OpenAI sends, about 700 bytes."""
    message = {"role": "assistant", "content": _ANSWER.strip(), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 211, "completion_tokens": 77, "total_tokens": 288}
    return {
        "id": "chatcmpl-9Xq2mZ7LkS0v",
        "object": "chat.completion",
        "created": 1767225600,
        "model": "bench-model",
        "choices": [choice],
        "usage": usage,
        "system_fingerprint": "fp_44709d6fcb",
    }


def stream_text(events: int) -> str:
    """What the deltas of a stream say together."""
    return "".join(_WORDS[number % len(_WORDS)] for number in range(events))


@lru_cache
def _chunks(events: int) -> tuple[bytes, ...]:
    """The events of a stream as HTTP chunks; the last one ends the body."""
    deltas: list[tuple[dict[str, str], str | None]] = [
        ({"content": _WORDS[number % len(_WORDS)]}, None) for number in range(events)
    ]
    datas = [_event(delta, reason) for delta, reason in [*deltas, ({}, "stop")]]
    whole = [f"data: {data}\n\n".encode() for data in [*datas, "[DONE]"]]
    return (*(b"%x\r\n%b\r\n" % (len(one), one) for one in whole), b"0\r\n\r\n")


def _event(delta: dict[str, str], reason: str | None) -> str:
    event = {
        "id": "chatcmpl-9Xq2mZ7LkS0v",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": "bench-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
    }
    return json.dumps(event, separators=(",", ":"))


def _response(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


_COMPLETION: Final = _response("200 OK", json.dumps(completion()).encode())
_REFUSAL: Final = _response("400 Bad Request", b'{"error": {"message": "see /stats"}}')
_SSE: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


_JOBS: Final = {
    b"post /plain/v1/chat/completions http/1.1": False,
    b"post /template/v1/chat/completions http/1.1": True,
}
"""Whether a template must have made the body, by request line in lower case."""
_CREDENTIAL: Final = f"\r\nauthorization: bearer {KEY}\r\n".encode()
_MADE: Final = json.dumps(SYSTEM)[1:-1].encode()
_ASKED: Final = TEXT.encode()
_STREAM: Final = b"\r\n" + STREAM_HEADER.encode() + b": "


def mistake(head: bytes, body: bytes) -> str | None:
    """What is wrong with a request; none if nothing is. `head` is in lower case."""
    template = _JOBS.get(head.partition(b"\r\n")[0])
    if template is None:
        return "path"
    if _CREDENTIAL not in head + b"\r\n":
        return "credential"
    if b'"messages"' not in body or _ASKED not in body:
        return "body"
    if template and (_MADE not in body or b'"variables"' in body or b"{{" in body):
        return "template"
    return None


def pacing(head: bytes) -> tuple[int, float]:
    """How many events, and how many seconds apart."""
    _, found, rest = head.partition(_STREAM)
    if not found:
        return _EVENTS, 0.0
    events, pace = rest.partition(b"\r\n")[0].split(b",")
    return int(events), float(pace) / 1000


class Connection(asyncio.Protocol):
    """One connection of a gateway; requests come one after another."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._rest = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        while data:
            end = data.find(b"\r\n\r\n")
            head = data[: max(0, end)].lower()
            taken = None if end < 0 else _body(head, data, end + 4)
            if taken is None:
                break
            body, stop = taken
            self._answer(head, body)
            data = data[stop:]
        self._rest = data

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"get /stats "):
            self._transport.write(_response("200 OK", self._report()))
            return
        if not head.startswith(b"post "):
            self._stats.others[head.partition(b"\r\n")[0][:80].decode("latin-1")] += 1
            self._transport.write(_response("404 Not Found", b"{}"))
            return
        self._stats.requests += 1
        wrong = mistake(head, body)
        if wrong is not None:
            self._stats.mistakes[wrong] += 1
            self._transport.write(_REFUSAL)
        elif b'"stream":true' in body or b'"stream": true' in body:
            self._stats.streams += 1
            self._stream(*pacing(head))
        else:
            self._transport.write(_COMPLETION)

    def _stream(self, events: int, pace: float) -> None:
        chunks = _chunks(events)
        if pace:
            self._transport.write(_SSE)
            self._next(chunks, 0, pace, asyncio.get_running_loop().time())
        else:
            self._transport.write(_SSE + b"".join(chunks))

    def _next(self, chunks: tuple[bytes, ...], number: int, pace: float, due: float) -> None:
        if self._transport.is_closing():
            return
        if number >= len(chunks) - 3:  # the stop event, [DONE] and the end come together
            self._transport.write(b"".join(chunks[number:]))
            return
        self._transport.write(chunks[number])
        loop = asyncio.get_running_loop()
        loop.call_at(due + pace, self._next, chunks, number + 1, pace, due + pace)

    def _report(self) -> bytes:
        return json.dumps(vars(self._stats)).encode()


def _body(head: bytes, data: bytes, start: int) -> tuple[bytes, int] | None:
    """The body that follows the head, and where it ends; none if more must come."""
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        end = head.find(b"\r\n", at + 2)
        stop = start + int(head[at + 17 : end if end >= 0 else len(head)])
        return None if len(data) < stop else (data[start:stop], stop)
    if b"\r\ntransfer-encoding: chunked" in head:
        return _chunked(data, start)
    return b"", start


def _chunked(data: bytes, at: int) -> tuple[bytes, int] | None:
    pieces: list[bytes] = []
    while (line := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line].partition(b";")[0], 16)
        at = line + 2 + size + 2
        if len(data) < at:
            return None
        if size == 0:
            return b"".join(pieces), at
        pieces.append(data[line + 2 : at - 2])
    return None


async def serve() -> None:
    """Serve until the starter is gone."""
    stats = Stats()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(stats), "127.0.0.1", 0, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), _read_or_end, ended)
    await ended.wait()


def _read_or_end(ended: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 64):
        ended.set()


if __name__ == "__main__":
    asyncio.run(serve())
