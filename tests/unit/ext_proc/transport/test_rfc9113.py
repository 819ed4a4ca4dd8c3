"""What a peer may do by RFC 9113 at the edges of what it may: limits reached and not passed, halves
closed, flags that mean nothing. `test_connection` has what it may not."""

from __future__ import annotations

import pytest

from ext_proc.transport.h2 import HalfClosed, Message, Opened, Reset
from tests.unit.ext_proc.transport.wire import (
    ACK,
    CONTINUATION,
    DATA,
    EMPTY,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW,
    METHOD,
    NO_TABLE,
    PADDED,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    Frame,
    Server,
    block,
    data,
    headers,
    message,
    rst_stream,
    settings,
    window_update,
)

HALF = headers(1, END_HEADERS | END_STREAM)
LARGEST = 16_384


def continuation(payload: bytes, flags: int = 0) -> bytes:
    return bytes(Frame(CONTINUATION, flags, 1, payload))


# ---- sizes


def test_the_largest_frame() -> None:
    server = Server()
    text = bytes(LARGEST - 5)
    assert server.take(headers(1), data(1, message(text)))[1:] == [Message(1, text)]


def test_the_largest_frame_of_padding() -> None:
    server = Server()
    padded = bytes([255]) + message(b"a") + bytes(255)
    assert server.take(headers(1), data(1, padded, PADDED))[1:] == [Message(1, b"a")]
    assert server.take(data(1, bytes([255]) + bytes(255), PADDED | END_STREAM)) == [HalfClosed(1)]


@pytest.mark.parametrize("size", [1, 7, 105])
def test_the_largest_message(size: int) -> None:
    server = Server(message=100)
    sent = message(bytes(100))
    pieces = [data(1, sent[start : start + size]) for start in range(0, len(sent), size)]
    assert server.take(headers(1), *pieces)[1:] == [Message(1, bytes(100))]
    assert server.connection.send(1, b"still there")


def test_the_largest_number_of_incomplete_bytes() -> None:
    server = Server(message=100, buffered=50)
    half = message(bytes(100))[:25]
    server.take(headers(1), headers(3), data(1, half), data(3, half))
    assert server.books()["buffered"] == 50
    assert server.take(data(3, b"a")) == [Reset(3)]
    assert server.books()["buffered"] == 25


def test_the_longest_block() -> None:
    whole = NO_TABLE * 400 + block()
    server = Server(header_block=len(whole))
    server.take(headers(1, 0, whole[:1]), *[continuation(b"")] * 62)
    assert server.take(continuation(whole[1:]), continuation(b"", END_HEADERS)) == [
        Opened(1, METHOD)
    ]
    server = Server(header_block=len(whole) - 1)
    server.take(headers(1, 0, whole[:1]), continuation(whole[1:], END_HEADERS))
    assert server.connection.fault is not None


# ---- flags


def test_only_the_first_frame_of_a_block_ends_a_stream() -> None:
    server = Server()
    assert server.take(headers(1, 0, block()), continuation(b"", END_HEADERS | END_STREAM)) == [
        Opened(1, METHOD)
    ]
    assert server.take(data(1, message(b"a"))) == [Message(1, b"a")]


def test_a_block_with_everything_before_and_behind_it() -> None:
    server = Server()
    first, rest = block()[:3], block()[3:]
    padded = b"\x04" + bytes(5) + first + bytes(4)
    sent = bytes(Frame(HEADERS, PADDED | HAS_PRIORITY | END_STREAM, 1, padded))
    assert server.take(sent, continuation(rest, END_HEADERS)) == [Opened(1, METHOD), HalfClosed(1)]


def test_a_first_frame_that_is_all_padding() -> None:
    server = Server()
    sent = bytes(Frame(HEADERS, PADDED, 1, b"\x04" + bytes(4)))
    assert server.take(sent, continuation(block(), END_HEADERS)) == [Opened(1, METHOD)]


# ---- halves


def test_what_a_peer_may_send_after_its_end() -> None:
    """WINDOW_UPDATE, PRIORITY and RST_STREAM (section 5.1, half-closed)."""
    server = Server()
    server.take(settings((INITIAL_WINDOW, 0)), HALF)
    server.connection.send(1, b"waits")
    server.said()
    server.take(bytes(Frame(PRIORITY, 0, 1, bytes(5))), window_update(1, 4))
    assert [(f.kind, f.stream, len(f.payload)) for f in server.said()] == [(DATA, 1, 4)]
    assert server.take(rst_stream(1)) == [Reset(1)]
    assert server.said() == []
    assert server.books() == EMPTY


def test_a_stream_is_answered_after_the_peers_end() -> None:
    server = Server()
    server.take(headers(1), data(1, message(b"a"), END_STREAM))
    assert server.connection.send(1, b"b")
    server.connection.end(1)
    assert [frame.kind for frame in server.said()] == [HEADERS, DATA, HEADERS]
    assert server.books() == EMPTY


def test_an_end_in_the_middle_of_a_message() -> None:
    server = Server()
    assert server.take(headers(1), data(1, message(b"abc")[:6], END_STREAM))[1:] == [HalfClosed(1)]
    assert server.books()["buffered"] == 6
    server.connection.end(1)
    assert server.books() == EMPTY


def test_an_end_that_crosses_ours() -> None:
    server = Server()
    server.take(headers(1), data(1, message(b"a")))
    server.connection.end(1)
    server.said()
    assert server.take(data(1, message(b"late")), data(1, b"", END_STREAM)) == []
    assert server.said() == []
    assert server.books() == EMPTY
    server.take(data(1, b"later still"))
    assert [frame.kind for frame in server.said()] == [RST_STREAM]


# ---- settings


def test_of_equal_settings_the_last_counts_and_one_answer_is_enough() -> None:
    server = Server()
    server.take(headers(1), settings((INITIAL_WINDOW, 0), (INITIAL_WINDOW, 9)))
    assert server.said() == [Frame(SETTINGS, ACK, 0)]
    server.connection.send(1, b"1234")
    assert server.books()["queued"] == 0
    server.connection.send(1, b"")
    assert server.books()["queued"] == 5
