"""What any bytes may do to a connection: never raise, never lose count, never grow without bound.

The bytes of one input are cut into the pieces in which they arrive, and between them the server
does what a shell may do. Run by `run.py`, which looks for inputs that reach new code.
"""

from __future__ import annotations

from collections.abc import Iterator

from ext_proc.transport.h2 import (
    Code,
    Connection,
    Event,
    HalfClosed,
    Limits,
    Message,
    Opened,
    Reset,
)
from tests.unit.ext_proc.transport.wire import GREETING, Frame, parsed

LIMITS = Limits(
    message=2_000, buffered=3_000, queued=4_000, header_block=1_000, streams=8,
    stream_window=65_535, connection_window=65_535,
)  # fmt: skip
LARGE = 16_000  # bytes of an answer: a few fill the connection's window
_LARGEST_FRAME = 16_384 + 9
_MOST_LEFT = 4096
_MOST_CONTINUATIONS = 64


RAW, FRAMES, UNGREETED = range(3)
"""What an input's first byte says of the rest: bytes, or frames in short, after a greeting or not."""


def run(data: bytes) -> None:
    """One input: the second byte says how it is cut."""
    if len(data) < 2:
        return
    how, cut, sent = data[0] % 3, data[1], data[2:]
    conversation = Conversation()
    if how != UNGREETED:
        conversation.take(GREETING)
    for piece in _pieces(_framed(sent) if how == FRAMES else sent, cut):
        conversation.take(piece)
    conversation.close()


def shortened(frames: bytes) -> bytes:
    """The frames as an input of `FRAMES`."""
    return b"".join(
        bytes((frame.kind, frame.flags, frame.stream, len(frame.payload))) + frame.payload
        for frame in parsed(frames)
    )


def _framed(sent: bytes) -> bytes:
    """A byte each for type, flags, stream and length, so that a mutation keeps whole frames."""
    frames, start = bytearray(), 0
    while start + 4 <= len(sent):
        kind, flags, stream, length = sent[start : start + 4]
        payload = sent[start + 4 : start + 4 + length]
        frames += bytes(Frame(kind % 12, flags, stream, payload))
        start += 4 + length
    return bytes(frames)


def _pieces(sent: bytes, cut: int) -> Iterator[bytes]:
    size = (1, 7, 50, 1_000, 100_000)[cut % 5]
    for start in range(0, len(sent), size):
        yield sent[start : start + size]


class Conversation:
    """A server that answers, ends, resets and drains as the messages say.

    Attributes:
        open: streams that the shell believes to be open.
        last: the highest stream that was opened.
    """

    def __init__(self) -> None:
        self.connection = Connection(LIMITS)
        self.open: set[int] = set()
        self.halves: set[int] = set()  # the peer's are closed
        self.last = 0

    def take(self, piece: bytes) -> None:
        closed = self.connection.closing
        events = self.connection.receive(piece)
        assert not (closed and events), "an event after the end"
        for event in events:
            self._note(event)
        for event in events:
            if isinstance(event, Message):
                self._act(event.stream, event.data)
        self._check()

    def close(self) -> None:
        """Everything the server can do has no effect on a connection that failed, nor raises."""
        for stream in list(self.open):
            self.connection.end(stream)
            self.connection.reset(stream, Code.CANCEL)
            assert not self.connection.send(stream, b"late")
        self.connection.drain()
        self._check()
        assert self.connection.open_streams == 0
        assert self.connection._sender.queued == self.connection._streams.buffered == 0

    def _note(self, event: Event) -> None:
        stream = event.stream
        if isinstance(event, Opened):
            assert stream > self.last, "a stream opened twice"
            assert stream % 2
            self.last = stream
            self.open.add(stream)
            return
        assert stream <= self.last
        if isinstance(event, Reset):
            self.open.discard(stream)
            return
        assert stream not in self.halves, "something after the peer's end"
        if isinstance(event, HalfClosed):
            self.halves.add(stream)
        else:
            assert len(event.data) <= LIMITS.message

    def _act(self, stream: int, message: bytes) -> None:
        connection, first = self.connection, message[:1] or b"a"
        if first < b"\x70":
            connection.send(stream, message)
        elif first < b"\x80":
            connection.send(stream, bytes(LARGE))
        elif first < b"\xa0":
            connection.send(stream, message * 3)
            connection.end(stream)
        elif first < b"\xc0":
            connection.end(stream)
        elif first < b"\xe0":
            connection.reset(stream, Code.CANCEL)
        else:
            connection.drain()

    def _check(self) -> None:
        connection = self.connection
        for frame in parsed(connection.outgoing()):
            self._hear(frame)
        assert connection.closing == (connection.fault is not None)
        sender, receiver, streams = connection._sender, connection._receiver, connection._streams
        still = streams.open.values()
        assert streams.buffered == sum(len(stream.buffer) for stream in still) <= LIMITS.buffered
        assert sender.queued == sum(sum(map(len, s.queue)) for s in still) <= LIMITS.queued
        assert sender.window >= 0
        waiting = {s.identity for s in still if s.queue and s.send_window > 0}
        assert connection.closing or sender._blocked.keys() == waiting
        assert connection.closing or not waiting or sender.window == 0
        assert connection.closing or receiver.window >= 0
        assert len(streams.open) <= LIMITS.streams
        assert len(streams.left) <= _MOST_LEFT
        assert len(connection._reader._kept) <= _LARGEST_FRAME
        block = connection._block
        if block is not None and block._frames and not connection.closing:
            assert len(block.fragments) <= LIMITS.header_block
            assert block._frames <= _MOST_CONTINUATIONS

    def _hear(self, frame: Frame) -> None:
        assert len(frame.payload) <= _LARGEST_FRAME
        assert frame.stream <= self.connection._streams.last
