"""A load client for streamed answers: so many streams at once, each read to its end and checked.

Every answer that was asked for and did not come whole is an error; so is a run with fewer whole
streams than connections.

    python -m bench.load streams < what.json     prints its findings as JSON
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final

from bench.load._calls import Histogram, Task, complete

_END: Final = b"\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class StreamTask:
    """What is asked. No stream begins after `seconds`; those under way are read to their end.

    Attributes:
        text: what the deltas must say together.
        mark: what no answer may hold; the empty string: anything.
    """

    request: Task
    events: int
    text: str
    mark: str = ""


class Stream(asyncio.Protocol):
    """One connection, which asks again as soon as a stream has ended."""

    def __init__(self, task: StreamTask, seen: Seen, until: float) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self._task, self._seen, self._until = task, seen, until
        self._request = task.request.request()
        self._parts: list[bytes] = []
        self._checked = False
        self._asked = 0.0
        self._waiting = False
        self._chunked: bool | None = None  # not known until the head is there
        self._begun = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._parts, self._begun, self._chunked = [], False, None
        self._waiting, self._asked = True, time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        if not self._begun and b"data:" in data:
            self._begun = True
            self._seen.first.add(time.perf_counter() - self._asked)
        if self._is_whole(data):
            self._ended(b"".join(self._parts))

    def _is_whole(self, data: bytes) -> bool:
        if self._chunked is None:
            self._chunked = _is_chunked(b"".join(self._parts))
        if self._chunked:
            # The end may come in two pieces.
            last = data if len(data) >= len(_END) else b"".join(self._parts[-8:])
            return last.endswith(_END)
        return complete(b"".join(self._parts)) is not None

    def _ended(self, answer: bytes) -> None:
        wrong = self._what_is_wrong(answer)
        self._waiting = False
        if wrong:
            self._seen.errors[wrong] += 1
        else:
            self._seen.whole.add(time.perf_counter() - self._asked)
        if time.perf_counter() < self._until:
            self._ask()
        else:
            self._transport.close()

    def _what_is_wrong(self, answer: bytes) -> str | None:
        head, _, body = answer.partition(b"\r\n\r\n")
        if head[9:12] != b"200":
            return f"status {head[9:12].decode('latin-1')}"
        if not self._chunked:
            return "not a stream"
        body = _dechunked(body)
        if not body.endswith(b"data: [DONE]\n\n"):
            return "no [DONE]"
        if self._checked:
            mark = self._task.mark.encode()
            return "mark left" if mark and mark in body else None
        self._checked = True
        return None if said(body) == self._task.text else "text"

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._seen.errors["connection lost"] += 1
        if not self.done.done():
            self.done.set_result(None)


def _is_chunked(answer: bytes) -> bool | None:
    """None while the head is not whole."""
    head, ended, _ = answer.partition(b"\r\n\r\n")
    return b"\r\ntransfer-encoding: chunked" in head.lower() if ended else None


def _dechunked(body: bytes) -> bytes:
    pieces, at = [], 0
    while (line := body.find(b"\r\n", at)) >= 0:
        size = int(body[at:line], 16)
        pieces.append(body[line + 2 : line + 2 + size])
        at = line + 2 + size + 2
    return b"".join(pieces)


def said(body: bytes) -> str:
    """The deltas of a stream, joined."""
    datas = [event[6:] for event in body.split(b"\n\n") if event.startswith(b"data: {")]
    deltas = [json.loads(data)["choices"][0]["delta"] for data in datas]
    return "".join(delta.get("content") or "" for delta in deltas)


class Seen:
    """Times to the first event and to the end, and what was wrong."""

    def __init__(self) -> None:
        self.first, self.whole = Histogram(), Histogram()
        self.errors: Counter[str] = Counter()


async def run(task: StreamTask) -> dict[str, Any]:
    """The whole task."""
    seen = Seen()
    began = time.perf_counter()
    until = began + task.request.seconds
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(task.request.connections):
        _, stream = await loop.create_connection(
            lambda: Stream(task, seen, until), *task.request.address
        )
        made.append(stream.done)
    await asyncio.gather(*made)
    lasted = time.perf_counter() - began
    if (lacking := task.request.connections - seen.whole.count) > 0:
        seen.errors["fewer whole streams than connections"] = lacking
    return {
        "streams": seen.whole.count,
        "events": seen.whole.count * (task.events + 2),  # and the stop event, and [DONE]
        "seconds": lasted,
        "first_p50_ms": round(seen.first.percentile_ms(50), 3),
        "first_p99_ms": round(seen.first.percentile_ms(99), 3),
        "errors": dict(seen.errors),
    }


def to_json(task: StreamTask) -> str:
    """How a task is handed to this program."""
    return json.dumps(asdict(task))


def main() -> None:
    given = json.load(sys.stdin)
    task = StreamTask(request=Task(**given.pop("request")), **given)
    sys.stdout.write(json.dumps(asyncio.run(run(task))) + "\n")
