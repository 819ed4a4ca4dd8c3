"""The half of a connection that receives: DATA frames → messages, as our windows and limits allow.

Specification: RFC 9113, sections 5.2, 6.1 and 6.9.
"""

from __future__ import annotations

from ext_proc.transport.h2 import frames, grpc
from ext_proc.transport.h2.errors import ConnectionFault, StreamFault
from ext_proc.transport.h2.events import Event, HalfClosed, Message, Reset
from ext_proc.transport.h2.frames import Code
from ext_proc.transport.h2.limits import Limits
from ext_proc.transport.h2.reader import unpadded
from ext_proc.transport.h2.sender import Sender
from ext_proc.transport.h2.stream import H2Stream, Refused
from ext_proc.transport.h2.streams import Streams


class Receiver:
    """What may come.

    Attributes:
        window: bytes that the peer may send on all streams together.
    """

    def __init__(
        self, streams: Streams, sender: Sender, out: list[bytes | memoryview], limits: Limits
    ) -> None:
        self.window = limits.connection_window
        self._limits = limits
        self._low, self._stream_low = limits.connection_window // 2, limits.stream_window // 2
        self._streams = streams
        self._open = streams.open
        self._sender = sender
        self._out = out

    def on_data(self, flags: int, identity: int, payload: bytes, events: list[Event]) -> None:
        size = len(payload)
        self.window -= size
        if self.window < 0:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "more data than the connection's window")
        if self.window < self._low:
            self._replenish()
        if flags & frames.PADDED:
            payload = unpadded(payload)
        stream = self._open.get(identity)
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
        elif stream.receive_window < self._stream_low:
            more = self._limits.stream_window - stream.receive_window
            stream.receive_window += more
            self._out.append(frames.window_update(identity, more))

    def _take(self, stream: H2Stream, data: bytes, events: list[Event]) -> bool:
        """Whether the call goes on."""
        held = len(stream.buffer)
        messages, refused = stream.messages(data, self._limits.message)
        for message in messages:
            events.append(Message(stream.identity, message))
        grown = len(stream.buffer) - held
        if grown:
            self._streams.buffered += grown
            if refused is None and grown > 0 and self._streams.buffered > self._limits.buffered:
                refused = Refused(grpc.Status.RESOURCE_EXHAUSTED, "too much is buffered")
        if refused is None:
            return True
        self._sender.refuse(stream, refused)
        events.append(Reset(stream.identity))
        return False

    def _on_data_without_stream(self, flags: int, identity: int) -> None:
        if self._streams.idle(identity):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "data on an idle stream")
        if identity not in self._streams.left:
            raise StreamFault(identity, Code.STREAM_CLOSED, "data on a closed stream")
        if flags & frames.END_STREAM:
            del self._streams.left[identity]

    def _replenish(self) -> None:
        more = self._limits.connection_window - self.window
        self.window += more
        self._out.append(frames.window_update(0, more))
