"""gRPC on HTTP/2: its header blocks, status codes and message prefix.

Specification: gRPC's PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final
from urllib.parse import quote

from ext_proc.transport.h2.frames import header_block

PREFIX: Final = 5
"""Bytes before a message: a compressed-flag and the length."""
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MOST_DETAIL: Final = 100  # bytes of a percent-encoded grpc-message


class Status(IntEnum):
    """The status codes that this server gives."""

    OK = 0
    CANCELLED = 1
    DEADLINE_EXCEEDED = 4
    RESOURCE_EXHAUSTED = 8
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


# 0x88 is ":status: 200" of the static table (RFC 7541, appendix A).
HEADERS_BLOCK: Final = b"\x88" + header_block([(b"content-type", b"application/grpc")])
NO_TABLE: Final = b"\x20"
"""Before a connection's first block: this encoder's dynamic table has size 0 (section 4.2)."""
OK_TRAILERS: Final = header_block([(b"grpc-status", b"0")])


def trailers(status: Status, detail: str) -> bytes:
    """The block that ends a stream; `detail` is for logs, never a caller's text."""
    if status is Status.OK:
        return OK_TRAILERS
    return header_block([(b"grpc-status", b"%d" % status), (b"grpc-message", _quoted(detail))])


def seconds(timeout: bytes) -> float | None:
    """Of a `grpc-timeout`: up to eight digits and a unit. None if it is something else."""
    number, unit = timeout[:-1], _UNITS.get(timeout[-1:])
    if unit is None or not number.isdigit() or len(number) > 8:
        return None
    return int(number) * unit


def _quoted(detail: str) -> bytes:
    """As much of it as fits, in whole characters."""
    detail = detail[:_MOST_DETAIL]
    while len(told := quote(detail, safe=" ")) > _MOST_DETAIL:
        detail = detail[:-1]
    return told.encode()
