from __future__ import annotations

import hpack
import pytest

from ext_proc.transport.h2 import frames
from ext_proc.transport.h2.frames import Code, Setting
from tests.unit.ext_proc.transport.wire import Frame, parsed


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (frames.frame(0, 1, 3, b"abc"), Frame(0, 1, 3, b"abc")),
        (frames.frame(9, 0, 2**31 - 1), Frame(9, 0, 2**31 - 1)),
        (frames.head(0x012345, 0, 0, 1) + bytes(0x012345), Frame(0, 0, 1, bytes(0x012345))),
        (frames.window_update(5, 2**31 - 1), Frame(8, 0, 5, b"\x7f\xff\xff\xff")),
        (frames.rst_stream(7, Code.CANCEL), Frame(3, 0, 7, b"\x00\x00\x00\x08")),
        (frames.goaway(9, Code.NO_ERROR), Frame(7, 0, 0, b"\x00\x00\x00\x09\x00\x00\x00\x00")),
        (
            frames.settings({Setting.INITIAL_WINDOW_SIZE: 1, Setting.MAX_FRAME_SIZE: 2**24 - 1}),
            Frame(4, 0, 0, b"\x00\x04\x00\x00\x00\x01\x00\x05\x00\xff\xff\xff"),
        ),
    ],
)
def test_what_is_written_is_the_frame_that_was_meant(written: bytes, expected: Frame) -> None:
    assert list(parsed(written)) == [expected]


def test_the_reserved_bit_is_in_the_last_field_of_a_head() -> None:
    assert frames.unpack_head(b"\x01\x02\x03\x04\x05\x80\x00\x00\x06") == (
        0x0102, 0x03, 4, 5, 0x80000006,
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"content-type", b"application/grpc")],
        [(b"a", b""), (b"a", b"twice")],
        [(b"n" * 126, b"v" * 126)],
    ],
)
def test_header_blocks_are_understood_by_another_decoder(fields: list[tuple[bytes, bytes]]) -> None:
    decoder = hpack.Decoder()
    assert decoder.decode(frames.header_block(fields), raw=True) == fields
    assert not decoder.header_table.dynamic_entries
