"""A server's side of one HTTP/2 connection that carries gRPC: bytes in → events, messages → bytes.

No sockets, no tasks, no clock. What a private server needs of RFC 9113 and no more: no priorities,
no push, no extended connect. The peer's faults end a stream or the connection as the RFC says; they
never raise out of `receive`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Final

from ext_proc.transport.h2 import frames, grpc
from ext_proc.transport.h2.errors import ConnectionFault, StreamFault
from ext_proc.transport.h2.events import Event, HalfClosed, Message, Opened, Reset
from ext_proc.transport.h2.frames import Code, Setting
from ext_proc.transport.h2.headers import HeaderBlocks
from ext_proc.transport.h2.limits import DEFAULTS, Limits
from ext_proc.transport.h2.reader import FrameReader
from ext_proc.transport.h2.stream import H2Stream, Refused

_DRAIN_PING: Final = b"draining"
_REMEMBERED_CLOSED: Final = 4096
_MOST_CONTINUATIONS: Final = 64  # frames of one block; empty ones would be endless


class Connection:
    """The state of a connection. After each call, write what `outgoing` gives.

    Attributes:
        closing: nothing will come any more: write what is outgoing, and close.
        fault: why, if it is the peer's.
    """

    def __init__(self, limits: Limits = DEFAULTS) -> None:
        self.closing = False
        self.fault: ConnectionFault | None = None
        self._limits = limits
        self._out: list[bytes | memoryview] = []
        self._reader = FrameReader()
        self._introduced = False
        self._headers = HeaderBlocks(limits.header_block)
        self._block: tuple[int, int, bytearray] | None = None  # stream, flags, unfinished block
        self._continuations = 0
        self._streams: dict[int, H2Stream] = {}
        self._left: dict[int, None] = {}  # ended by us while the peer might still send
        # those that only the connection's window keeps from sending, the oldest first
        self._blocked: OrderedDict[int, H2Stream] = OrderedDict()
        self._last = 0
        self._promised = frames.MAX_ID  # the last stream of our last GOAWAY; it never grows
        self._spoken = False
        self._send_window = frames.DEFAULT_WINDOW
        self._receive_window = limits.connection_window
        self._peer_window = frames.DEFAULT_WINDOW
        self._peer_frame = frames.DEFAULT_FRAME_SIZE
        self._buffered = self._queued = 0
        self._draining = self._final = False
        self._handlers: dict[int, Callable[[int, int, bytes, list[Event]], None]] = {
            frames.DATA: self._on_data,
            frames.HEADERS: self._on_headers,
            frames.PRIORITY: self._on_priority,
            frames.RST_STREAM: self._on_rst_stream,
            frames.SETTINGS: self._on_settings,
            frames.PUSH_PROMISE: self._on_push_promise,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window_update,
            frames.CONTINUATION: self._on_stray_continuation,
        }
        self._introduce()

    # ---- what the shell calls

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer; what they mean."""
        events: list[Event] = []
        if self.closing:
            return events
        try:
            for kind, flags, identity, payload in self._reader.frames(data):
                self._frame(kind, flags, identity, payload, events)
        except ConnectionFault as fault:
            self._fail(fault)
        return events

    def outgoing(self) -> bytes:
        """Bytes for the peer, once."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def send(self, identity: int, message: bytes) -> bool:
        """A message on an open stream. False: the call is over, and nothing more can be sent.

        When too much waits for the peer's windows already, the call ends with RESOURCE_EXHAUSTED.
        """
        stream = self._streams.get(identity)
        if stream is None or stream.trailers is not None:
            return False
        self._start(stream)
        payload = b"\x00" + frames.pack_u32(len(message)) + message
        size = len(payload)
        if (
            stream.queue
            or size > self._send_window
            or size > stream.send_window
            or size > self._peer_frame
        ):
            return self._enqueue(stream, payload)
        self._send_window -= size
        stream.send_window -= size
        self._out.append(frames.head(size, frames.DATA, 0, identity))
        self._out.append(payload)
        return True

    def end(self, identity: int, status: grpc.Status = grpc.Status.OK, detail: str = "") -> None:
        """The call is over; messages that wait for the peer's window go first."""
        stream = self._streams.get(identity)
        if stream is None or stream.trailers is not None:
            return
        self._start(stream)
        stream.trailers = grpc.trailers(status, detail)
        self._forget_input(stream)
        if not stream.queue:
            self._finish(stream)

    def reset(self, identity: int, code: Code) -> None:
        """End a stream at once, without trailers."""
        stream = self._streams.get(identity)
        if stream is not None:
            self._drop(stream)
            self._out.append(frames.rst_stream(identity, code))

    def drain(self) -> None:
        """Ask for no more streams. Those that cross this on the wire are still taken: only when the
        peer has answered a PING is the last one final (RFC 9113, section 6.8)."""
        if not self._draining and not self.closing:
            self._draining = True
            self._out.append(frames.goaway(frames.MAX_ID, Code.NO_ERROR))
            self._out.append(frames.frame(frames.PING, 0, 0, _DRAIN_PING))

    @property
    def drained(self) -> bool:
        """Whether the connection can be closed without a loss."""
        return self.closing or (self._final and not self._streams)

    # ---- reading

    def _introduce(self) -> None:
        limits = self._limits
        self._out.append(
            frames.settings(
                {
                    Setting.HEADER_TABLE_SIZE: 0,
                    Setting.MAX_CONCURRENT_STREAMS: limits.streams,
                    Setting.INITIAL_WINDOW_SIZE: limits.stream_window,
                    Setting.MAX_HEADER_LIST_SIZE: limits.header_block,
                }
            )
        )
        more = limits.connection_window - frames.DEFAULT_WINDOW
        if more > 0:
            self._out.append(frames.window_update(0, more))

    def _frame(
        self, kind: int, flags: int, identity: int, payload: bytes, events: list[Event]
    ) -> None:
        if not self._introduced and (kind != frames.SETTINGS or flags & frames.ACK):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        try:
            if self._block is not None:
                self._on_continuation(kind, flags, identity, payload, events)
            elif (handler := self._handlers.get(kind)) is not None:
                handler(flags, identity, payload, events)
            # unknown types are ignored (section 4.1)
        except StreamFault as fault:
            self._out.append(frames.rst_stream(fault.stream, fault.code))
            stream = self._streams.get(fault.stream)
            if stream is not None:
                self._drop(stream)
                events.append(Reset(fault.stream))

    # ---- frames

    def _on_data(self, flags: int, identity: int, payload: bytes, events: list[Event]) -> None:
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "more data than the connection's window")
        if self._receive_window < self._limits.connection_window // 2:
            self._replenish_connection()
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        stream = self._streams.get(identity)
        if stream is None:
            self._on_data_without_stream(flags, identity)
            return
        if stream.ended:
            raise StreamFault(identity, Code.STREAM_CLOSED, "data after the end")
        stream.ended = bool(flags & frames.END_STREAM)
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise StreamFault(identity, Code.FLOW_CONTROL_ERROR, "more data than the window")
        if stream.trailers is None and not self._take(stream, payload, events):
            return
        if stream.ended:
            events.append(HalfClosed(identity))
        elif stream.receive_window < self._limits.stream_window // 2:
            more = self._limits.stream_window - stream.receive_window
            stream.receive_window += more
            self._out.append(frames.window_update(identity, more))

    def _take(self, stream: H2Stream, data: bytes, events: list[Event]) -> bool:
        """Whether the call goes on."""
        held = len(stream.buffer)
        messages, refused = stream.messages(data, self._limits.message)
        self._buffered += len(stream.buffer) - held
        for message in messages:
            events.append(Message(stream.identity, message))
        if refused is None and self._buffered > self._limits.buffered and stream.buffer:
            refused = Refused(grpc.Status.RESOURCE_EXHAUSTED, "too much is buffered")
        if refused is None:
            return True
        self._refuse(stream, refused)
        events.append(Reset(stream.identity))
        return False

    def _refuse(self, stream: H2Stream, why: Refused) -> None:
        """End a call now: what waits is dropped, the peer asked to stop (section 8.1)."""
        self._queued -= stream.unqueue()
        self._start(stream)
        stream.trailers = grpc.trailers(why.status, why.detail)
        self._finish(stream)
        if not stream.ended:
            self._out.append(frames.rst_stream(stream.identity, Code.NO_ERROR))

    def _idle(self, identity: int) -> bool:
        """Whether it is a stream that was never opened; 0 and the server's own never are."""
        return identity > self._last or identity % 2 == 0

    def _on_data_without_stream(self, flags: int, identity: int) -> None:
        if self._idle(identity):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "data on an idle stream")
        if identity not in self._left:
            raise StreamFault(identity, Code.STREAM_CLOSED, "data on a closed stream")
        if flags & frames.END_STREAM:
            del self._left[identity]

    def _on_headers(self, flags: int, identity: int, payload: bytes, events: list[Event]) -> None:
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        if flags & frames.HAS_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "no room for a priority")
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._on_block(flags, identity, payload, events)
        else:
            self._block, self._continuations = (identity, flags, bytearray(payload)), 0

    def _on_continuation(
        self, kind: int, flags: int, identity: int, payload: bytes, events: list[Event]
    ) -> None:
        assert self._block is not None
        expected, first_flags, block = self._block
        if kind != frames.CONTINUATION or identity != expected:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a header block is interrupted")
        block += payload
        self._continuations += 1
        if len(block) > self._limits.header_block or self._continuations > _MOST_CONTINUATIONS:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "a header block is too long")
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(first_flags, identity, bytes(block), events)

    def _on_block(self, flags: int, identity: int, block: bytes, events: list[Event]) -> None:
        path = self._headers.path(block)  # decoded in any case: it may change the decoder's table
        stream = self._streams.get(identity)
        if stream is not None:
            self._on_trailers(flags, stream, events)
        elif identity % 2 == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a stream of the server's numbers")
        elif identity <= self._last:
            self._on_block_without_stream(flags, identity)
        else:
            self._on_request(flags, identity, path, events)

    def _on_trailers(self, flags: int, stream: H2Stream, events: list[Event]) -> None:
        if stream.ended:
            raise StreamFault(stream.identity, Code.STREAM_CLOSED, "headers after the end")
        if not flags & frames.END_STREAM:
            raise StreamFault(stream.identity, Code.PROTOCOL_ERROR, "trailers that end nothing")
        self._half_close(stream, events)

    def _on_block_without_stream(self, flags: int, identity: int) -> None:
        if identity not in self._left:
            raise ConnectionFault(Code.STREAM_CLOSED, "headers on a closed stream")
        if flags & frames.END_STREAM:
            del self._left[identity]

    def _on_request(self, flags: int, identity: int, path: str, events: list[Event]) -> None:
        self._last = identity
        if identity > self._promised or len(self._streams) >= self._limits.streams:
            if not flags & frames.END_STREAM:
                self._leave(identity)
            self._out.append(frames.rst_stream(identity, Code.REFUSED_STREAM))
            return
        stream = H2Stream(identity, self._peer_window, self._limits.stream_window)
        self._streams[identity] = stream
        events.append(Opened(identity, path))
        if flags & frames.END_STREAM:
            self._half_close(stream, events)

    def _half_close(self, stream: H2Stream, events: list[Event]) -> None:
        stream.ended = True
        events.append(HalfClosed(stream.identity))

    def _on_priority(self, _flags: int, identity: int, payload: bytes, _events: object) -> None:
        if identity == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a priority of no stream")
        if len(payload) == 5:
            return
        if self._idle(identity):  # which may not be reset
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a priority has five bytes")
        raise StreamFault(identity, Code.FRAME_SIZE_ERROR, "a priority has five bytes")

    def _on_rst_stream(
        self, _flags: int, identity: int, payload: bytes, events: list[Event]
    ) -> None:
        if len(payload) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "RST_STREAM has four bytes")
        if self._idle(identity):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "RST_STREAM of an idle stream")
        stream = self._streams.get(identity)
        if stream is None:
            self._left.pop(identity, None)
            return
        stream.ended = True  # the peer sends no more, so the stream needs no remembering
        self._drop(stream)
        events.append(Reset(identity))

    def _on_settings(self, flags: int, identity: int, payload: bytes, _events: object) -> None:
        if identity != 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "settings of a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "an acknowledgement is empty")
            self._headers.acknowledged()
            return
        if len(payload) % 6:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a setting has six bytes")
        self._introduced = True
        before = self._peer_window
        for start in range(0, len(payload), 6):
            self._set(*frames.unpack_setting(payload, start))
        # before what the new windows let go: the peer may count by them only from here on
        self._out.append(frames.frame(frames.SETTINGS, frames.ACK, 0))
        if self._peer_window != before:
            self._widen_all(self._peer_window - before)

    def _set(self, key: int, value: int) -> None:
        if key == Setting.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window above 2^31-1")
            self._peer_window = value
        elif key == Setting.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_SIZE <= value <= frames.LARGEST_FRAME_SIZE:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a frame size out of range")
            self._peer_frame = value
        elif key == Setting.ENABLE_PUSH and value > 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")

    def _widen_all(self, change: int) -> None:
        """Of the open streams, by a new initial size (section 6.9.2): they may become negative."""
        for stream in list(self._streams.values()):
            stream.send_window += change
            if stream.send_window > frames.MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window above 2^31-1")
            if stream.queue:
                self._flush(stream)

    def _on_push_promise(self, *_: object) -> None:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "clients do not push")

    def _on_ping(self, flags: int, identity: int, payload: bytes, _events: object) -> None:
        if identity != 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a ping of a stream")
        if len(payload) != 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a ping has eight bytes")
        if not flags & frames.ACK:
            self._out.append(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif self._draining and payload == _DRAIN_PING and not self._final:
            self._final = True
            self._go_away(Code.NO_ERROR)

    def _on_goaway(self, _flags: int, identity: int, payload: bytes, _events: object) -> None:
        if identity != 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "GOAWAY of a stream")
        if len(payload) < 8:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "GOAWAY has eight bytes or more")
        # Streams of a server there are none; the peer's own go on until it closes.

    def _on_window_update(
        self, _flags: int, identity: int, payload: bytes, _events: object
    ) -> None:
        if len(payload) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE has four bytes")
        more = frames.unpack_u32(payload, 0)[0] & frames.MAX_WINDOW
        if identity == 0:
            if more == 0:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a window grows by more than 0")
            self._send_window += more
            if self._send_window > frames.MAX_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window above 2^31-1")
            self._flush_all()
            return
        if self._idle(identity):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "the window of an idle stream")
        stream = self._streams.get(identity)
        if stream is not None:
            self._widen(stream, more)

    def _widen(self, stream: H2Stream, more: int) -> None:
        if more == 0:
            raise StreamFault(stream.identity, Code.PROTOCOL_ERROR, "a window grows by more than 0")
        stream.send_window += more
        if stream.send_window > frames.MAX_WINDOW:
            raise StreamFault(stream.identity, Code.FLOW_CONTROL_ERROR, "a window above 2^31-1")
        if stream.queue:
            self._flush(stream)

    def _on_stray_continuation(self, *_: object) -> None:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")

    # ---- sending

    def _start(self, stream: H2Stream) -> None:
        if stream.started:
            return
        stream.started = True
        block = grpc.HEADERS_BLOCK
        if not self._spoken:  # no table, whatever size the peer announced or will announce
            self._spoken, block = True, grpc.NO_TABLE + block
        self._out.append(frames.frame(frames.HEADERS, frames.END_HEADERS, stream.identity, block))

    def _enqueue(self, stream: H2Stream, payload: bytes) -> bool:
        stream.queue.append(memoryview(payload))
        self._queued += len(payload)
        self._flush(stream)
        if self._queued <= self._limits.queued or not stream.queue:
            return True
        self._refuse(stream, Refused(grpc.Status.RESOURCE_EXHAUSTED, "too much is queued"))
        return False

    def _flush_all(self) -> None:
        while self._blocked and self._send_window > 0:
            self._flush(next(iter(self._blocked.values())))

    def _flush(self, stream: H2Stream) -> None:
        """Send of the queue what the windows allow; then the trailers, if they are there."""
        queue = stream.queue
        while queue:
            allowed = min(self._send_window, stream.send_window, self._peer_frame)
            if allowed <= 0:
                self._block_on(stream)
                return
            piece = queue.popleft()
            if len(piece) > allowed:
                queue.appendleft(piece[allowed:])
                piece = piece[:allowed]
            size = len(piece)
            self._queued -= size
            self._send_window -= size
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
        self._drop(stream)

    def _drop(self, stream: H2Stream) -> None:
        self._forget_input(stream)
        if stream.queue:
            self._queued -= stream.unqueue()
        del self._streams[stream.identity]
        if self._blocked:
            self._blocked.pop(stream.identity, None)
        if not stream.ended:
            self._leave(stream.identity)

    def _forget_input(self, stream: H2Stream) -> None:
        if stream.buffer:
            self._buffered -= len(stream.buffer)
            stream.buffer.clear()

    def _leave(self, identity: int) -> None:
        """Remember that the peer may still send on this stream."""
        if len(self._left) >= _REMEMBERED_CLOSED:
            for oldest in list(islice(self._left, _REMEMBERED_CLOSED // 4)):
                del self._left[oldest]  # many at once: finding the first key is not free
        self._left[identity] = None

    def _replenish_connection(self) -> None:
        more = self._limits.connection_window - self._receive_window
        self._receive_window += more
        self._out.append(frames.window_update(0, more))

    def _fail(self, fault: ConnectionFault) -> None:
        self.closing, self.fault = True, fault
        self._go_away(fault.code)

    def _go_away(self, code: Code) -> None:
        self._promised = min(self._promised, self._last)
        self._out.append(frames.goaway(self._promised, code))


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(Code.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]
