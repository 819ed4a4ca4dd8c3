from __future__ import annotations

from urllib.parse import unquote

import hpack
import pytest

from ext_proc.transport.h2 import Status, grpc
from ext_proc.transport.h2.stream import H2Stream, Refused
from tests.unit.ext_proc.transport.wire import message


def decoded(block: bytes) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in hpack.Decoder().decode(block, raw=True)]


def test_a_response_begins_with_success() -> None:
    expected = [(b":status", b"200"), (b"content-type", b"application/grpc")]
    assert decoded(grpc.HEADERS_BLOCK) == expected
    assert decoded(grpc.NO_TABLE + grpc.HEADERS_BLOCK) == expected


@pytest.mark.parametrize(
    ("status", "detail", "expected"),
    [
        (Status.OK, "left out", [(b"grpc-status", b"0")]),
        (Status.ABORTED, "", [(b"grpc-status", b"10"), (b"grpc-message", b"")]),
        (Status.INTERNAL, "a b", [(b"grpc-status", b"13"), (b"grpc-message", b"a b")]),
        (Status.INTERNAL, "1%\n", [(b"grpc-status", b"13"), (b"grpc-message", b"1%25%0A")]),
        (Status.INTERNAL, "é", [(b"grpc-status", b"13"), (b"grpc-message", b"%C3%A9")]),
    ],
)
def test_trailers(status: Status, detail: str, expected: list[tuple[bytes, bytes]]) -> None:
    assert decoded(grpc.trailers(status, detail)) == expected


@pytest.mark.parametrize("before", range(6))
def test_a_long_detail_is_cut_between_characters(before: int) -> None:
    told = decoded(grpc.trailers(Status.INTERNAL, "x" * before + "김치" * 50))[1][1]
    assert 80 < len(told) <= 100
    assert unquote(told.decode(), errors="strict").startswith("x" * before + "김치")


WHOLE = message(b"abc")


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        ([WHOLE], [[b"abc"]]),
        ([message()], [[b""]]),
        ([WHOLE + message() + WHOLE], [[b"abc", b"", b"abc"]]),
        ([WHOLE[:1], WHOLE[1:5], WHOLE[5:]], [[], [], [b"abc"]]),
        ([WHOLE + WHOLE[:2], WHOLE[2:] + WHOLE[:7], WHOLE[7:]], [[b"abc"], [b"abc"], [b"abc"]]),
        ([b"", WHOLE, b""], [[], [b"abc"], []]),
    ],
)
def test_messages_in_pieces(pieces: list[bytes], found: list[list[bytes]]) -> None:
    stream = H2Stream(1, 0, 0)
    assert [stream.messages(piece, 3) for piece in pieces] == [(each, None) for each in found]
    assert not stream.buffer


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (message(b"abcd"), Status.RESOURCE_EXHAUSTED),
        (message(length=2**32 - 1), Status.RESOURCE_EXHAUSTED),
        (message(b"abc", compressed=1), Status.UNIMPLEMENTED),
    ],
)
@pytest.mark.parametrize("before", [b"", WHOLE, WHOLE + WHOLE])
def test_what_is_refused_takes_nothing_of_what_came_before(
    before: bytes, bad: bytes, status: Status
) -> None:
    found, refused = H2Stream(1, 0, 0).messages(before + bad, 3)
    assert found == [b"abc"] * (len(before) // len(WHOLE))
    assert isinstance(refused, Refused)
    assert refused.status is status


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"20m", 0.02), (b"7u", 7e-6), (b"9n", 9e-9),
        (b"0S", 0), (b"99999999n", 0.099999999),
        (b"", None), (b"S", None), (b"1", None), (b"1s", None), (b"-1S", None), (b"+1S", None),
        (b"1.5S", None), (b"1 S", None), (b"123456789S", None), (b"\xb2S", None),
    ],
)  # fmt: skip
def test_deadlines(told: bytes, seconds: float | None) -> None:
    assert grpc.seconds(told) == (None if seconds is None else pytest.approx(seconds))
