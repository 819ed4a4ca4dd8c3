"""HTTP/2 frames for the tests, written and read without the product's own code."""

from __future__ import annotations

from collections.abc import Iterator
from struct import pack, unpack
from typing import NamedTuple

from ext_proc.transport.h2 import Connection, Event, Limits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW, FRAME_SIZE = 1, 2, 4, 5
METHOD = "/some.Service/Method"


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes = b""

    @property
    def code(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        code: int = unpack(">I", self.payload[-4:])[0]
        return code

    def __bytes__(self) -> bytes:
        size = len(self.payload)
        head = pack(">BHBBI", size >> 16, size & 0xFFFF, self.kind, self.flags, self.stream)
        return head + self.payload


def parsed(data: bytes) -> Iterator[Frame]:
    """All frames of `data`, which must end with a whole one."""
    while data:
        high, low, kind, flags, stream = unpack(">BHBBI", data[:9])
        end = 9 + (high << 16 | low)
        assert len(data) >= end, "a torn frame"
        yield Frame(kind, flags, stream, data[9:end])
        data = data[end:]


def settings(*values: tuple[int, int]) -> bytes:
    return bytes(Frame(SETTINGS, 0, 0, b"".join(pack(">HI", *value) for value in values)))


GREETING = PREFACE + settings() + bytes(Frame(SETTINGS, ACK, 0))
NO_TABLE = b"\x20"  # what an encoder must say first, once it has acknowledged a table size of 0


def literal(name: bytes, value: bytes) -> bytes:
    """A field as a literal that is not indexed (RFC 7541, section 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def block(path: str = METHOD) -> bytes:
    return NO_TABLE + literal(b":path", path.encode())


def headers(stream: int, flags: int = END_HEADERS, payload: bytes | None = None) -> bytes:
    return bytes(Frame(HEADERS, flags, stream, block() if payload is None else payload))


def data(stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return bytes(Frame(DATA, flags, stream, payload))


def message(payload: bytes = b"", *, compressed: int = 0, length: int | None = None) -> bytes:
    """With gRPC's prefix."""
    return pack(">BI", compressed, len(payload) if length is None else length) + payload


def rst_stream(stream: int, code: int = 8) -> bytes:
    return bytes(Frame(RST_STREAM, 0, stream, pack(">I", code)))


def window_update(stream: int, more: int) -> bytes:
    return bytes(Frame(WINDOW_UPDATE, 0, stream, pack(">I", more)))


def ping(payload: bytes, flags: int = 0) -> bytes:
    return bytes(Frame(PING, flags, 0, payload))


class Server:
    """A connection, and what it says in frames."""

    def __init__(self, greeting: bytes = GREETING, **limits: int) -> None:
        self.connection = Connection(Limits(**limits))
        self.connection.receive(greeting)
        self.connection.outgoing()

    def take(self, *chunks: bytes) -> list[Event]:
        return self.connection.receive(b"".join(chunks))

    def said(self) -> list[Frame]:
        return list(parsed(self.connection.outgoing()))

    def books(self) -> dict[str, int]:
        """What it still keeps; all zero once every stream is closed on both sides."""
        c = self.connection
        return {
            "buffered": c._streams.buffered,
            "queued": c._sender.queued,
            "streams": len(c._streams.open),
            "blocked": len(c._sender._blocked),
            "left": len(c._streams.left),
        }


EMPTY = {"buffered": 0, "queued": 0, "streams": 0, "blocked": 0, "left": 0}
