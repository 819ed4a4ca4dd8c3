"""Four times as much work takes about four times as long, however the peer arranges it.

What grows with the square takes sixteen times as long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from ext_proc.transport.h2 import Code
from tests.unit.ext_proc.transport.wire import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE,
    INITIAL_WINDOW,
    Frame,
    Server,
    data,
    headers,
    message,
    ping,
    rst_stream,
    settings,
    window_update,
)

Work = Callable[[], None]


def numbers(count: int) -> range:
    return range(1, 2 * count, 2)


def taking(server: Server, *pieces: bytes) -> Work:
    def work() -> None:
        for piece in pieces:
            server.take(piece)
        assert server.connection.fault is None

    return work


def tiny_pieces(count: int) -> Work:
    server = Server()
    server.take(headers(1), data(1, message(length=10**7)[:5]))
    return taking(server, *[bytes([byte]) for byte in data(1, bytes(8_000)) * (count // 1000)])


def a_message_in_tiny_frames(count: int) -> Work:
    server = Server()
    server.take(headers(1), data(1, message(length=count)[:5]))
    sent = data(1, b"x") * count
    return taking(server, sent)


def many_messages_in_a_frame(count: int) -> Work:
    server = Server()
    server.take(headers(1), data(1, b"\x00"))
    sent = b"".join(data(1, (message() * 3000)[1:] + b"\x00") for _ in range(count // 3000))
    return taking(server, sent)


def a_large_answer_byte_by_byte(count: int) -> Work:
    server = Server()
    server.take(settings((INITIAL_WINDOW, 0)), headers(1))
    server.connection.send(1, bytes(100 * count))
    sent = window_update(1, 1) * count
    return taking(server, sent)


def many_answers_in_a_closed_window(count: int) -> Work:
    server = Server()
    server.take(settings((INITIAL_WINDOW, 0)), headers(1))

    def work() -> None:
        for _ in range(count):
            server.connection.send(1, b"")
        server.take(window_update(1, 50_000))

    return work


def blocked(count: int, window: int) -> Server:
    server = Server()
    server.take(settings((INITIAL_WINDOW, 2**31 - 1)), headers(1))
    server.connection.send(1, bytes(65_530))
    server.take(settings((INITIAL_WINDOW, window)), *map(headers, range(3, 2 * count, 2)))
    for stream in range(3, 2 * count, 2):
        server.connection.send(stream, b"12345")
    server.said()
    return server


def many_streams_blocked_by_the_connection(count: int) -> Work:
    server = blocked(count, 65_535)
    sent = window_update(0, 1) * count
    return taking(server, sent)


def many_streams_blocked_by_themselves(count: int) -> Work:
    server = blocked(count, 0)
    sent = window_update(0, 1) * count
    return taking(server, sent)


def many_streams_freed_at_once(count: int) -> Work:
    server = blocked(count, 65_535)
    sent = window_update(0, 10**6)
    return taking(server, sent)


def resets(count: int) -> Work:
    server = Server()
    sent = b"".join(headers(n) + rst_stream(n) for n in numbers(count))
    return taking(server, sent)


def ends_that_the_peer_never_answers(count: int) -> Work:
    server = Server()

    def work() -> None:
        for stream in numbers(count):
            server.take(headers(stream))
            server.connection.end(stream)

    return work


def open_streams_closed_from_the_oldest(count: int) -> Work:
    server = Server()
    server.take(*map(headers, numbers(count)))

    def work() -> None:
        for stream in numbers(count):
            server.connection.reset(stream, Code.CANCEL)

    return work


def settings_that_change_much(count: int) -> Work:
    server = Server()
    server.take(*map(headers, numbers(count)))
    sent = settings(*[(INITIAL_WINDOW, n % 2) for n in range(count // 5)])
    return taking(server, sent)


def small_frames(count: int) -> Work:
    sent = ping(bytes(8)) + settings((FRAME_SIZE, 20_000)) + window_update(0, 1) + data(1)
    server = Server()
    server.take(headers(1))
    return taking(server, sent * count)


def long_blocks(count: int) -> Work:
    server = Server()

    def blocks() -> Iterator[bytes]:
        for number in numbers(count // 64):
            yield headers(number, END_STREAM, b"\x20\x00\x7f\x81\x1e")  # a name of 3,968 bytes
            for _ in range(62):
                yield bytes(Frame(CONTINUATION, 0, number, bytes(64)))
            yield bytes(Frame(CONTINUATION, END_HEADERS, number, b"\x00"))

    sent = b"".join(blocks())
    return taking(server, sent)


def took(work: Work) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


@pytest.mark.parametrize(
    "make",
    [
        tiny_pieces, a_message_in_tiny_frames, many_messages_in_a_frame,
        a_large_answer_byte_by_byte, many_answers_in_a_closed_window,
        many_streams_blocked_by_the_connection, many_streams_blocked_by_themselves,
        many_streams_freed_at_once, resets, ends_that_the_peer_never_answers,
        open_streams_closed_from_the_oldest, settings_that_change_much, small_frames, long_blocks,
    ],
)  # fmt: skip
def test_time_is_linear(make: Callable[[int], Work]) -> None:
    few = min(took(make(3_000)) for _ in range(3))
    many = min(took(make(12_000)) for _ in range(3))
    assert many < 9 * few + 0.002
