"""Inputs to begin with: a conversation for each kind of frame, right and wrong, made by code."""

from __future__ import annotations

from pathlib import Path
from struct import pack

from tests.fuzz.harness import FRAMES, RAW, UNGREETED, shortened
from tests.unit.ext_proc.transport.wire import (
    ACK,
    CONTINUATION,
    END_STREAM,
    GOAWAY,
    GREETING,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW,
    PADDED,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    Frame,
    block,
    data,
    headers,
    literal,
    message,
    ping,
    rst_stream,
    settings,
    window_update,
)

CALL = headers(1) + data(1, message(b"hello"))
PADDING = b"\x03"
SEEDS: dict[str, bytes] = {
    "call": CALL + data(1, b"", END_STREAM),
    "many_messages": CALL + data(1, message(b"again") * 3) * 3,
    "message_in_pieces": headers(1) + data(1, message(b"hello")[:4]) + data(1, b"\x05he"),
    "answered_and_ended": headers(1) + data(1, message(b"\x80three")),
    "ended": headers(1) + data(1, message(b"\xa0")) + data(1, b"late", END_STREAM),
    "reset_by_us": headers(1) + data(1, message(b"\xc0")) + data(1, b"late"),
    "drained": CALL + headers(3) + data(3, message(b"\xe0")) + ping(b"draining", ACK) + headers(5),
    "compressed": headers(1) + data(1, message(b"x", compressed=1)),
    "too_long": headers(1) + data(1, message(length=9_999)),
    "reset": CALL + rst_stream(1) + headers(3) + rst_stream(3),
    "small_window": settings((INITIAL_WINDOW, 3)) + CALL + window_update(1, 4),
    "window_changes": CALL + settings((INITIAL_WINDOW, 0)) + CALL + settings((INITIAL_WINDOW, 70)),
    "windows": window_update(0, 1) + headers(1) + window_update(1, 2**31 - 1),
    "full_connection": settings((INITIAL_WINDOW, 2**31 - 1))
    + headers(1)
    + data(1, message(b"\x70") * 5)
    + window_update(0, 100)
    + rst_stream(1),
    "endless_block": headers(1, 0) + bytes(Frame(CONTINUATION, 0, 1)) * 70,
    "long_block": headers(1, 0) + bytes(Frame(CONTINUATION, 0, 1, bytes(250))) * 5,
    "trailers": CALL + headers(1, END_STREAM | 0x4, literal(b"x", b"y")),
    "padded": bytes(Frame(HEADERS, PADDED | 0x4, 1, PADDING + block() + bytes(3)))
    + data(1, PADDING + message(b"x") + bytes(3), PADDED),
    "priority": bytes(Frame(HEADERS, HAS_PRIORITY | 0x4, 1, bytes(5) + block()))
    + bytes(Frame(PRIORITY, 0, 1, bytes(5))),
    "continued": headers(1, 0, block()[:5]) + bytes(Frame(CONTINUATION, 4, 1, block()[5:])),
    "interrupted": headers(1, 0, block()[:5]) + ping(bytes(8)),
    "timeout": headers(1, payload=block() + literal(b"grpc-timeout", b"100m")),
    "push": bytes(Frame(PUSH_PROMISE, 4, 1, bytes(4))),
    "goaway": CALL + bytes(Frame(GOAWAY, 0, 0, pack(">II", 0, 0))),
    "ping": ping(b"12345678"),
    "unknown": bytes(Frame(0x77, 0xFF, 1, b"?")) + CALL,
    "greeting_alone": GREETING,
}


def inputs() -> dict[str, bytes]:
    """Each seed in one piece and in small ones, as bytes and as frames."""
    found = {"ungreeted": bytes((UNGREETED, 4)) + GREETING + CALL}
    for name, sent in SEEDS.items():
        for cut in (1, 4):
            found[f"{name}-raw-{cut}"] = bytes((RAW, cut)) + sent
            if not sent.startswith(PREFACE):
                found[f"{name}-frames-{cut}"] = bytes((FRAMES, cut)) + shortened(sent)
    return found


def write(folder: Path) -> None:
    for name, sent in inputs().items():
        (folder / name).write_bytes(sent)
