"""A load client in Python: closed loop, where wrk is not installed, and open loop.

The *open loop* sends at a constant rate, whatever the answers do, over as many connections as that
takes; a latency counts from the moment at which the request was due, so a stall of the server is
seen by every request that it delayed, not by one for each connection ("coordinated omission").

    python -m bench.load calls < what.json      prints its findings as lines of JSON
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlsplit

_TICK: Final = 0.001
_REPORT: Final = 10.0
_MOST_IDLE: Final = 30.0  # seconds; the gateway's is 90
_PATIENCE: Final = 30.0  # seconds that the last answers may take


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked. `rate` requests per second; none: each connection as fast as it is answered.

    `connections` is their number in a closed loop, and the most there may be in an open one.
    """

    url: str
    body: str
    headers: dict[str, str]
    connections: int
    seconds: float
    rate: float | None = None

    @property
    def address(self) -> tuple[str, int]:
        url = urlsplit(self.url)
        return url.hostname or "", url.port or 80

    def request(self) -> bytes:
        url, body = urlsplit(self.url), self.body.encode()
        fixed = {"host": url.netloc, "content-type": "application/json"}
        headers = fixed | self.headers | {"content-length": str(len(body))}
        lines = [f"POST {url.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body


class Histogram:
    """Latencies in steps of 1/64 of their size: within 1.6 %, in little memory."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0
        self.worst = 0.0

    def add(self, seconds: float) -> None:
        micros = int(seconds * 1e6) + 1
        shift = max(0, micros.bit_length() - 7)
        self._counts[(micros >> shift) << shift] += 1
        self.count += 1
        self.worst = max(self.worst, seconds)

    def percentile_ms(self, percent: float) -> float:
        """The upper end of the step that holds it."""
        left = self.count * percent / 100
        for micros in sorted(self._counts):
            left -= self._counts[micros]
            if left <= 0:
                return (micros + (1 << max(0, micros.bit_length() - 7))) / 1000
        return 0.0


class Connection(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._rest = b""
        self._due: float | None = None
        self._transport: asyncio.Transport
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, due: float) -> None:
        self._due = due
        self._transport.write(self._client.request)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        status = complete(data)
        if status is None:
            self._rest = data
            return
        self._rest = b""
        due, self._due = self._due, None
        if due is not None:
            self._client.answered(self, status, due)

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.lost(self, self._due is not None)
        self._due = None


def complete(data: bytes) -> bytes | None:
    """The status of a whole response; none while a part of it is missing."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        size = int(head[at + 17 :].partition(b"\r\n")[0])
        return data[9:12] if len(data) >= end + 4 + size else None
    chunked = b"\r\ntransfer-encoding: chunked" in head
    return data[9:12] if not chunked or data.endswith(b"0\r\n\r\n") else None


class Client:
    """The connections, and what they saw."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.request = task.request()
        self.total, self.recent = Histogram(), Histogram()
        self.errors: Counter[str] = Counter()
        self.sent = 0
        self._idle: deque[Connection] = deque()
        self._waiting: deque[float] = deque()
        self._opened = 0
        self._stopping = False
        self._settled = asyncio.Event()
        self._pending: set[asyncio.Task[None]] = set()

    def answered(self, connection: Connection, status: bytes, due: float) -> None:
        now = time.perf_counter()
        if status == b"200":
            self.total.add(now - due)
            self.recent.add(now - due)
        else:
            self.errors[f"status {status.decode('latin-1')}"] += 1
        if self._waiting:
            connection.send(self._waiting.popleft())
        elif self.task.rate is None and not self._stopping:
            self.sent += 1
            connection.send(now)
        else:
            connection.idle_since = now
            self._idle.append(connection)
            self._give_up_idle(now)
            self._check_settled()

    def _give_up_idle(self, now: float) -> None:
        """Before the gateway does, as a client's pool must: a request could meet the closing."""
        while now - self._idle[0].idle_since > _MOST_IDLE:
            self._idle.popleft().close()

    def lost(self, connection: Connection, busy: bool) -> None:
        self._opened -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        if busy:
            self.errors["connection lost"] += 1
            self._check_settled()

    async def closed_loop(self) -> None:
        for _ in range(self.task.connections):
            await self._open()
        for _ in range(len(self._idle)):
            self.sent += 1
            self._idle.popleft().send(time.perf_counter())
        await asyncio.sleep(self.task.seconds)

    async def open_loop(self, rate: float) -> None:
        began = time.perf_counter()
        reported = began
        while (now := time.perf_counter()) - began < self.task.seconds:
            while self.sent < (now - began) * rate:
                self._send_due(began + self.sent / rate)
            if now - reported >= _REPORT:
                reported = now
                self._report(now - began)
            await asyncio.sleep(_TICK)

    def _send_due(self, due: float) -> None:
        self.sent += 1
        if self._idle:
            self._idle.pop().send(due)
            return
        self._waiting.append(due)
        if self._opened < self.task.connections:
            self._opened += 1
            task = asyncio.create_task(self._open(counted=True))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def _open(self, counted: bool = False) -> None:
        self._opened += 0 if counted else 1
        try:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(
                lambda: Connection(self), *self.task.address
            )
        except OSError:
            self._opened -= 1
            self.errors["connect"] += 1
            return
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._idle.append(connection)

    async def settle(self) -> None:
        """Wait for the answers that are still under way; those that never come are errors."""
        self._stopping = True
        self._check_settled()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), _PATIENCE)
        if left := self._unanswered():
            self.errors["unanswered"] += left
        for connection in list(self._idle):
            connection.close()

    def _check_settled(self) -> None:
        if self._stopping and not self._unanswered():
            self._settled.set()

    def _unanswered(self) -> int:
        failed = sum(self.errors.values()) - self.errors["connect"]
        return self.sent - self.total.count - failed

    def _report(self, at: float) -> None:
        found = {"at": round(at, 1), "connections": self._opened, **self._found(self.recent)}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
        self.recent = Histogram()

    def result(self, seconds: float) -> dict[str, Any]:
        return self._found(self.total) | {"seconds": seconds, "sent": self.sent}

    def _found(self, histogram: Histogram) -> dict[str, Any]:
        return {
            "requests": histogram.count,
            "p50_ms": round(histogram.percentile_ms(50), 3),
            "p99_ms": round(histogram.percentile_ms(99), 3),
            "p999_ms": round(histogram.percentile_ms(99.9), 3),
            "max_ms": round(histogram.worst * 1000, 3),
            "errors": dict(+self.errors),
        }


async def run(task: Task) -> dict[str, Any]:
    """The whole task."""
    client, used = Client(task), time.process_time()
    began = time.perf_counter()
    if task.rate is None:
        await client.closed_loop()
    else:
        await client.open_loop(task.rate)
    lasted = time.perf_counter() - began
    await client.settle()
    return client.result(lasted) | {"cpu": time.process_time() - used}


def main() -> None:
    task = Task(**json.load(sys.stdin))
    gc.freeze()
    gc.disable()  # its pauses would be counted as the gateway's; nothing here makes cycles
    sys.stdout.write(json.dumps(asyncio.run(run(task))) + "\n")


def to_json(task: Task) -> str:
    """How a task is handed to this program."""
    return json.dumps(asdict(task))
