"""An upstream whose answer the test writes piece by piece, when it wants to."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_HEAD = (
    b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n"
    b"content-type: %b\r\n\r\n"
)


@dataclass
class Exchange:
    """One request; `request` is its head and what came with it, `gone` is set when the peer left."""

    connection: socket.socket
    request: bytes
    gone: threading.Event = field(default_factory=threading.Event)

    def head(self, content_type: str = "text/event-stream") -> None:
        self.connection.sendall(_HEAD % content_type.encode())

    def send(self, data: bytes) -> None:
        """One chunk, and so one read of Envoy's."""
        self.connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self, trailers: bytes = b"") -> None:
        self.connection.sendall(b"0\r\n" + trailers + b"\r\n")

    def abort(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)  # a mere close would wait for the watcher

    def watch(self) -> None:
        """Wait for the peer to leave (it has nothing more to say)."""
        try:
            while self.connection.recv(65536):
                pass
        except OSError:
            pass
        self.gone.set()


@dataclass
class Paced:
    """The server: `next()` is the next request that arrives."""

    port: int
    arrived: queue.Queue[Exchange] = field(default_factory=queue.Queue)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def next(self) -> Exchange:
        return self.arrived.get(timeout=10)


@contextmanager
def paced_upstream() -> Iterator[Paced]:
    """The server, on a free port of loopback, for as long as the block lasts."""
    listener = socket.create_server(("127.0.0.1", 0))
    paced = Paced(listener.getsockname()[1])
    open_: list[socket.socket] = []
    thread = threading.Thread(target=_accept, args=(listener, paced, open_), daemon=True)
    thread.start()
    try:
        yield paced
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_:
            connection.close()
        thread.join(5)


def _accept(listener: socket.socket, paced: Paced, open_: list[socket.socket]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        open_.append(connection)
        exchange = Exchange(connection, connection.recv(1 << 20))
        paced.arrived.put(exchange)
        threading.Thread(target=exchange.watch, daemon=True).start()
