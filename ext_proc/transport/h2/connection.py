"""A server's side of one HTTP/2 connection that carries gRPC: bytes in → events, messages → bytes.

No sockets, no tasks, no clock. What a private server needs of RFC 9113 and no more: no priorities,
no push, no extended connect. The peer's faults end a stream or the connection as the RFC says; they
never raise out of `receive`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ext_proc.transport.h2 import frames
from ext_proc.transport.h2.errors import ConnectionFault, StreamFault
from ext_proc.transport.h2.events import Event, HalfClosed, Opened, Reset
from ext_proc.transport.h2.frames import Code, Setting
from ext_proc.transport.h2.headers import HeaderBlocks, OpenBlock, Request
from ext_proc.transport.h2.limits import DEFAULTS, Limits
from ext_proc.transport.h2.reader import FrameReader, unpadded
from ext_proc.transport.h2.receiver import Receiver
from ext_proc.transport.h2.sender import Sender
from ext_proc.transport.h2.stream import H2Stream
from ext_proc.transport.h2.streams import Streams

_DRAIN_PING: Final = b"draining"


class Connection:
    """The state of a connection. After each call, write what `outgoing` gives.

    Attributes:
        closing: nothing will come any more: write what is outgoing, and close.
        fault: why, if it is the peer's.
        send, end, reset: the sender's; see there.
    """

    def __init__(self, limits: Limits = DEFAULTS) -> None:
        self.closing = False
        self.fault: ConnectionFault | None = None
        self._limits = limits
        self._out: list[bytes | memoryview] = []
        self._reader = FrameReader()
        self._introduced = False
        self._headers = HeaderBlocks(limits.header_block)
        self._block: OpenBlock | None = None
        self._streams = Streams()
        self._open = self._streams.open
        self._sender = Sender(self._streams, self._out, limits.queued)
        self._receiver = Receiver(self._streams, self._sender, self._out, limits)
        self.send = self._sender.send  # bound once: a call between would cost every message
        self.end = self._sender.end
        self.reset = self._sender.reset
        self._promised = frames.MAX_ID  # the last stream of our last GOAWAY; it never grows
        self._draining = self._final = False
        self._handlers: dict[int, Callable[[int, int, bytes, list[Event]], None]] = {
            frames.DATA: self._receiver.on_data,
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
        return len(self._open)

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
        return self.closing or (self._final and not self._open)

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
            stream = self._open.get(fault.stream)
            if stream is not None:
                self._sender.drop(stream)
                events.append(Reset(fault.stream))

    # ---- frames

    def _on_headers(self, flags: int, identity: int, payload: bytes, events: list[Event]) -> None:
        if flags & frames.PADDED:
            payload = unpadded(payload)
        if flags & frames.HAS_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "no room for a priority")
            payload = payload[5:]
        if flags & frames.END_HEADERS:
            self._on_block(flags, identity, payload, events)
        else:
            self._block = OpenBlock(identity, flags, payload, self._limits.header_block)

    def _on_continuation(
        self, kind: int, flags: int, identity: int, payload: bytes, events: list[Event]
    ) -> None:
        assert self._block is not None
        block = self._block
        block.add(kind, identity, payload)
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(block.flags, identity, bytes(block.fragments), events)

    def _on_block(self, flags: int, identity: int, block: bytes, events: list[Event]) -> None:
        request = self._headers.request(
            block
        )  # decoded in any case: it may change the decoder's table
        stream = self._open.get(identity)
        if stream is not None:
            self._on_trailers(flags, stream, events)
        elif identity % 2 == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a stream of the server's numbers")
        elif identity <= self._streams.last:
            self._on_block_without_stream(flags, identity)
        else:
            self._on_request(flags, identity, request, events)

    def _on_trailers(self, flags: int, stream: H2Stream, events: list[Event]) -> None:
        if stream.ended:
            raise StreamFault(stream.identity, Code.STREAM_CLOSED, "headers after the end")
        if not flags & frames.END_STREAM:
            raise StreamFault(stream.identity, Code.PROTOCOL_ERROR, "trailers that end nothing")
        self._half_close(stream, events)

    def _on_block_without_stream(self, flags: int, identity: int) -> None:
        if identity not in self._streams.left:
            raise ConnectionFault(Code.STREAM_CLOSED, "headers on a closed stream")
        if flags & frames.END_STREAM:
            del self._streams.left[identity]

    def _on_request(self, flags: int, identity: int, request: Request, events: list[Event]) -> None:
        self._streams.last = identity
        if identity > self._promised or len(self._open) >= self._limits.streams:
            if not flags & frames.END_STREAM:
                self._streams.leave(identity)
            self._out.append(frames.rst_stream(identity, Code.REFUSED_STREAM))
            return
        stream = H2Stream(identity, self._sender.initial_window, self._limits.stream_window)
        self._open[identity] = stream
        events.append(Opened(identity, request.path, request.timeout))
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
        if self._streams.idle(identity):  # which may not be reset
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a priority has five bytes")
        raise StreamFault(identity, Code.FRAME_SIZE_ERROR, "a priority has five bytes")

    def _on_rst_stream(
        self, _flags: int, identity: int, payload: bytes, events: list[Event]
    ) -> None:
        if len(payload) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "RST_STREAM has four bytes")
        if self._streams.idle(identity):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "RST_STREAM of an idle stream")
        stream = self._open.get(identity)
        if stream is None:
            self._streams.left.pop(identity, None)
            return
        stream.ended = True  # the peer sends no more, so the stream needs no remembering
        self._sender.drop(stream)
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
        self._sender.settings(payload)

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
            self._sender.widen_connection(more)
            return
        if self._streams.idle(identity):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "the window of an idle stream")
        stream = self._open.get(identity)
        if stream is not None:
            self._sender.widen(stream, more)

    def _on_stray_continuation(self, *_: object) -> None:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")

    def _fail(self, fault: ConnectionFault) -> None:
        self.closing, self.fault = True, fault
        self._go_away(fault.code)

    def _go_away(self, code: Code) -> None:
        self._promised = min(self._promised, self._streams.last)
        self._out.append(frames.goaway(self._promised, code))
