"""Bytes as they come → whole frames (RFC 9113, sections 3.4, 4.1 and 6.1)."""

from __future__ import annotations

from collections.abc import Iterator

from ext_proc.transport.h2 import frames
from ext_proc.transport.h2.errors import ConnectionFault
from ext_proc.transport.h2.frames import Code

Frame = tuple[int, int, int, bytes]
"""Type, flags, stream and payload."""


class FrameReader:
    """Keeps what is not whole yet: at most one frame of 16 KiB, or a part of the preface."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._wanted = 1  # bytes in `_kept` before it is worth a look
        self._greeted = False

    def frames(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole with `data`; to be read to the end, unless the connection ends.

        Raises:
            ConnectionFault: not HTTP/2, or a frame that is too long.
        """
        if self._kept:
            self._kept += data
            if len(self._kept) < self._wanted:
                return
            data = bytes(self._kept)
            self._kept.clear()
        start = 0
        if not self._greeted:
            start = self._greet(data)
            if not self._greeted:
                self._kept += data
                return
        while len(data) - start >= frames.HEADER_SIZE:
            high, low, kind, flags, identity = frames.unpack_head(data, start)
            length = high << 8 | low
            if length > frames.DEFAULT_FRAME_SIZE:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a frame above 16 KiB")
            end = start + frames.HEADER_SIZE + length
            if end > len(data):
                self._wanted = end - start
                break
            yield kind, flags, identity & frames.MAX_ID, data[start + frames.HEADER_SIZE : end]
            start = end
        else:
            self._wanted = frames.HEADER_SIZE
        if start < len(data):
            self._kept += data[start:]

    def _greet(self, data: bytes) -> int:
        """Where the first frame begins, once the preface is whole."""
        preface = frames.PREFACE
        if not preface.startswith(data[: len(preface)]):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "not HTTP/2 with prior knowledge")
        self._greeted = len(data) >= len(preface)
        return len(preface)


def unpadded(payload: bytes) -> bytes:
    """Of DATA and HEADERS frames with the flag `PADDED` (section 6.1).

    Raises:
        ConnectionFault: there is more padding than payload.
    """
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(Code.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]
