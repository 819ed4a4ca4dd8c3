"""Servers that do what servers should not: reset, hang, close, or trickle."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Fault = Literal["reset", "hang", "close", "garbage", "half"]


@contextmanager
def faulty_server(fault: Fault) -> Iterator[int]:
    """The port of a server that reads a request and then misbehaves."""
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []
    thread = threading.Thread(target=_serve, args=(listener, fault, held), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in held:
            connection.close()
        thread.join(5)


def _serve(listener: socket.socket, fault: Fault, held: list[socket.socket]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.recv(65536)
        if fault == "hang":
            held.append(connection)
            continue
        if fault == "garbage":
            connection.sendall(b"\x00\x01 this is not HTTP\r\n\r\n")
        if fault == "half":
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        if fault == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
