"""The streams of one connection: those that are open, and what is remembered of those that are not.

Specification: RFC 9113, section 5.1.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from ext_proc.transport.h2.stream import H2Stream

_REMEMBERED_CLOSED: Final = 4096


class Streams:
    """The table that both halves of a connection share.

    Attributes:
        open: by their numbers.
        last: the highest number that the peer has used.
        left: ended by us while the peer might still send.
        buffered: bytes of all messages that are not complete yet.
    """

    __slots__ = ("buffered", "last", "left", "open")

    def __init__(self) -> None:
        self.open: dict[int, H2Stream] = {}
        self.last = 0
        self.left: dict[int, None] = {}
        self.buffered = 0

    def idle(self, identity: int) -> bool:
        """Whether it is a stream that was never opened; 0 and the server's own never are."""
        return identity > self.last or identity % 2 == 0

    def close(self, stream: H2Stream) -> None:
        if stream.buffer:
            self.forget_input(stream)
        del self.open[stream.identity]
        if not stream.ended:
            self.leave(stream.identity)

    def forget_input(self, stream: H2Stream) -> None:
        self.buffered -= len(stream.buffer)
        stream.buffer.clear()

    def leave(self, identity: int) -> None:
        """Remember that the peer may still send on this stream."""
        if len(self.left) >= _REMEMBERED_CLOSED:
            for oldest in list(islice(self.left, _REMEMBERED_CLOSED // 4)):
                del self.left[oldest]  # many at once: finding the first key is not free
        self.left[identity] = None
