"""The half of a connection that sends: messages → frames, as the peer's windows and settings allow.

What the peer sends is `connection`'s; of that, only what rules our sending comes here.
Specification: RFC 9113, sections 5.2, 6.5 and 6.9.
"""

from __future__ import annotations

from collections import OrderedDict

from ext_proc.transport.h2 import frames, grpc
from ext_proc.transport.h2.errors import ConnectionFault, StreamFault
from ext_proc.transport.h2.frames import Code, Setting
from ext_proc.transport.h2.stream import H2Stream, Refused
from ext_proc.transport.h2.streams import Streams


class Sender:
    """What may be sent, and what waits until it may.

    Attributes:
        window: bytes that may be sent on all streams together.
        initial_window: bytes that may be sent on a new stream.
        queued: bytes that wait for the peer's windows; at most `limit`.
    """

    def __init__(self, streams: Streams, out: list[bytes | memoryview], limit: int) -> None:
        self.window = frames.DEFAULT_WINDOW
        self.initial_window = frames.DEFAULT_WINDOW
        self.queued = 0
        self._largest_frame = frames.DEFAULT_FRAME_SIZE
        self._streams = streams
        self._open = streams.open
        self._out = out
        self._limit = limit
        # those that only the connection's window keeps from sending, the oldest first
        self._blocked: OrderedDict[int, H2Stream] = OrderedDict()
        self._spoken = False

    # ---- what the shell calls

    def send(self, identity: int, message: bytes) -> bool:
        """A message on an open stream. False: the call is over, and nothing more can be sent.

        When too much waits for the peer's windows already, the call ends with RESOURCE_EXHAUSTED.
        """
        stream = self._open.get(identity)
        if stream is None or stream.trailers is not None:
            return False
        if not stream.started:
            self._start(stream)
        payload = b"\x00" + frames.pack_u32(len(message)) + message
        size = len(payload)
        if (
            stream.queue
            or size > self.window
            or size > stream.send_window
            or size > self._largest_frame
        ):
            return self._enqueue(stream, payload)
        self.window -= size
        stream.send_window -= size
        self._out.append(frames.head(size, frames.DATA, 0, identity))
        self._out.append(payload)
        return True

    def end(self, identity: int, status: grpc.Status = grpc.Status.OK, detail: str = "") -> None:
        """The call is over; messages that wait for the peer's window go first."""
        stream = self._open.get(identity)
        if stream is None or stream.trailers is not None:
            return
        if not stream.started:
            self._start(stream)
        stream.trailers = grpc.trailers(status, detail)
        if stream.buffer:
            self._streams.forget_input(stream)
        if not stream.queue:
            self._finish(stream)

    def reset(self, identity: int, code: Code) -> None:
        """End a stream at once, without trailers."""
        stream = self._open.get(identity)
        if stream is not None:
            self.drop(stream)
            self._out.append(frames.rst_stream(identity, code))

    # ---- what the peer's frames cause

    def settings(self, payload: bytes) -> None:
        """The peer's, of one frame; they are acknowledged."""
        before = self.initial_window
        for start in range(0, len(payload), 6):
            self._set(*frames.unpack_setting(payload, start))
        # before what the new windows let go: the peer may count by them only from here on
        self._out.append(frames.frame(frames.SETTINGS, frames.ACK, 0))
        if self.initial_window != before:
            self._widen_all(self.initial_window - before)

    def widen_connection(self, more: int) -> None:
        if more == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a window grows by more than 0")
        self.window += more
        if self.window > frames.MAX_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window above 2^31-1")
        while self._blocked and self.window > 0:
            self._flush(next(iter(self._blocked.values())))

    def widen(self, stream: H2Stream, more: int) -> None:
        if more == 0:
            raise StreamFault(stream.identity, Code.PROTOCOL_ERROR, "a window grows by more than 0")
        stream.send_window += more
        if stream.send_window > frames.MAX_WINDOW:
            raise StreamFault(stream.identity, Code.FLOW_CONTROL_ERROR, "a window above 2^31-1")
        if stream.queue:
            self._flush(stream)

    def refuse(self, stream: H2Stream, why: Refused) -> None:
        """End a call now: what waits is dropped, the peer asked to stop (section 8.1)."""
        self.queued -= stream.unqueue()
        if not stream.started:
            self._start(stream)
        stream.trailers = grpc.trailers(why.status, why.detail)
        self._finish(stream)
        if not stream.ended:
            self._out.append(frames.rst_stream(stream.identity, Code.NO_ERROR))

    def drop(self, stream: H2Stream) -> None:
        """Forget a stream, and what of it waits."""
        if stream.queue:
            self.queued -= stream.unqueue()
        if self._blocked:
            self._blocked.pop(stream.identity, None)
        self._streams.close(stream)

    # ---- ours

    def _set(self, key: int, value: int) -> None:
        if key == Setting.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window above 2^31-1")
            self.initial_window = value
        elif key == Setting.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_SIZE <= value <= frames.LARGEST_FRAME_SIZE:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a frame size out of range")
            self._largest_frame = value
        elif key == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")

    def _widen_all(self, change: int) -> None:
        """Of the open streams, by a new initial size (section 6.9.2): they may become negative."""
        for stream in list(self._open.values()):
            stream.send_window += change
            if stream.send_window > frames.MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window above 2^31-1")
            if stream.queue:
                self._flush(stream)

    def _start(self, stream: H2Stream) -> None:
        stream.started = True
        block = grpc.HEADERS_BLOCK
        if not self._spoken:  # no table, whatever size the peer announced or will announce
            self._spoken, block = True, grpc.NO_TABLE + block
        self._out.append(frames.frame(frames.HEADERS, frames.END_HEADERS, stream.identity, block))

    def _enqueue(self, stream: H2Stream, payload: bytes) -> bool:
        stream.queue.append(memoryview(payload))
        self.queued += len(payload)
        self._flush(stream)
        if self.queued <= self._limit or not stream.queue:
            return True
        self.refuse(stream, Refused(grpc.Status.RESOURCE_EXHAUSTED, "too much is queued"))
        return False

    def _flush(self, stream: H2Stream) -> None:
        """Send of the queue what the windows allow; then the trailers, if they are there."""
        queue = stream.queue
        while queue:
            allowed = min(self.window, stream.send_window, self._largest_frame)
            if allowed <= 0:
                self._block_on(stream)
                return
            piece = queue.popleft()
            if len(piece) > allowed:
                queue.appendleft(piece[allowed:])
                piece = piece[:allowed]
            size = len(piece)
            self.queued -= size
            self.window -= size
            stream.send_window -= size
            self._out.append(frames.head(size, frames.DATA, 0, stream.identity))
            self._out.append(piece)
        self._blocked.pop(stream.identity, None)
        if stream.trailers is not None:
            self._finish(stream)

    def _block_on(self, stream: H2Stream) -> None:
        """Wait for the connection's window, or, not listed, for the stream's own."""
        if stream.send_window > 0:
            self._blocked[stream.identity] = stream
        else:
            self._blocked.pop(stream.identity, None)

    def _finish(self, stream: H2Stream) -> None:
        assert stream.trailers is not None
        flags = frames.END_HEADERS | frames.END_STREAM
        self._out.append(frames.frame(frames.HEADERS, flags, stream.identity, stream.trailers))
        self.drop(stream)
