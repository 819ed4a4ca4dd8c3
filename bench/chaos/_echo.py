"""An upstream that answers with what it was asked: a mixture of two revisions shows in it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager


class Echo:
    """`url(n)` is the upstream of generation `n`: the number is in its path."""

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, number: int) -> str:
        return f"http://127.0.0.1:{self.port}/g{number}/v1"


@contextmanager
def echoing() -> Iterator[Echo]:
    """In a thread, for as long as the block lasts."""
    port: Future[int] = Future()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_run, args=(loop, port), daemon=True)
    thread.start()
    try:
        yield Echo(port.result(10))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def _run(loop: asyncio.AbstractEventLoop, port: Future[int]) -> None:
    connections: set[asyncio.Transport] = set()
    listening = loop.create_server(lambda: _Connection(connections), "127.0.0.1", 0)
    server = loop.run_until_complete(listening)
    port.set_result(server.sockets[0].getsockname()[1])
    loop.run_forever()
    server.close()
    for transport in list(connections):
        transport.abort()
    loop.run_until_complete(asyncio.sleep(0))  # so that they close
    loop.close()


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with content-length, one request after the other."""

    def __init__(self, connections: set[asyncio.Transport]) -> None:
        self._connections = connections
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, blank, rest = self._held.partition(b"\r\n\r\n")
        if not blank:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        length = int(headers["content-length"])
        if len(rest) < length:
            return
        self._held = rest[length:]
        answer = {"path": lines[0].split(" ")[1], "body": json.loads(rest[:length])}
        self._answer(json.dumps(answer).encode())

    def _answer(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        self._transport.write(head.encode() + b"\r\n\r\n" + body)
