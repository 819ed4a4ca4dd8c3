"""ext_proc on this product's own HTTP/2: one `asyncio.Protocol` per connection of Envoy.

Everything that arrived together is handled together, synchronously, and written once; unary calls
may take their time, and those answered together are written once. The protocol is in `h2/`, what a
request means in `ext_proc.stream`; here is only what connects them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest

from ext_proc.transport import _socket
from ext_proc.transport._calls import Calls
from ext_proc.transport._model import NO_UNARY, Stream, StreamFactory, Unary
from ext_proc.transport.h2 import (
    DEFAULTS,
    Connection,
    Event,
    Limits,
    Message,
    Opened,
    Reset,
    Status,
)

log = logging.getLogger(__name__)

METHOD: Final = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
_ACCEPTING: Final = 5  # turns of the loop from accept(2) to `connection_made`, and some more
_LAST_WORDS: Final = 1.0  # seconds for a peer to close a connection that is drained


class NativeTransport:
    """See `ext_proc.transport.Transport`."""

    def __init__(
        self, streams: StreamFactory | None = None, unary: Mapping[str, Unary] = NO_UNARY
    ) -> None:
        self._streams = streams
        self._unary = unary
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._peers: set[_Peer] = set()

    async def start(self, path: Path, listener: socket.socket | None = None) -> None:
        if listener is None:
            listener = _socket.listen(path)
            self._path = path
        # not create_unix_server: from Python 3.13 on it unlinks what somebody else has bound
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Peer(self._streams, self._unary, self._peers),
            sock=listener,
            backlog=_socket.BACKLOG,
        )

    async def drain(self, grace: float) -> None:
        if self._server is None:
            return
        await self._stop_accepting(self._server)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._peers:  # again for a connection that was being accepted
                    for peer in list(self._peers):
                        peer.drain()
                    await asyncio.gather(*(peer.lost.wait() for peer in self._peers))
        for peer in list(self._peers):
            peer.abort()
        await self._server.wait_closed()
        self._server = None

    async def _stop_accepting(self, server: asyncio.Server) -> None:
        """From here on connections stay in the backlog; those taken out of it become peers.

        They need some turns of the loop for that, and a server that is closed would drop them.
        """
        loop = asyncio.get_running_loop()
        for listener in server.sockets:
            loop.remove_reader(listener)
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        for _ in range(_ACCEPTING):
            await asyncio.sleep(0)
        server.close()


class _Peer(asyncio.Protocol):
    """One connection."""

    def __init__(
        self,
        streams: StreamFactory | None,
        unary: Mapping[str, Unary],
        peers: set[_Peer],
        limits: Limits = DEFAULTS,
    ) -> None:
        self._new_stream = streams
        self._peers = peers
        self._connection = Connection(limits)
        self._streams: dict[int, Stream] = {}
        self._calls = Calls(unary, self._connection, self._write_soon)
        self._writing = False
        self._transport: asyncio.Transport
        self._closing: asyncio.TimerHandle | None = None
        self.lost = asyncio.Event()

    # ---- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._peers.add(self)
        self._write()

    def data_received(self, data: bytes) -> None:
        for event in self._connection.receive(data):
            self._handle(event)
        self._write()

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        self._streams.clear()
        self._calls.reset_all()
        self._peers.discard(self)
        if self._closing is not None:
            self._closing.cancel()
        self.lost.set()

    # ---- the transport's

    def drain(self) -> None:
        self._connection.drain()
        self._write()

    def abort(self) -> None:
        self._transport.abort()

    # ---- ours

    def _handle(self, event: Event) -> None:
        if isinstance(event, Message):
            self._on_message(event.stream, event.data)
        elif isinstance(event, Opened):
            self._on_opened(event)
        elif isinstance(event, Reset):
            self._streams.pop(event.stream, None)
            self._calls.reset(event.stream)
        elif self._streams.pop(event.stream, None) is not None:
            # with OK, Envoy would send the body on as it came
            self._connection.end(event.stream, Status.ABORTED, "ended before it was answered")
        else:
            self._calls.half_closed(event.stream)

    def _on_opened(self, event: Opened) -> None:
        if event.path == METHOD and self._new_stream is not None:
            self._streams[event.stream] = self._new_stream()
        elif not self._calls.open(event):
            self._connection.end(event.stream, Status.UNIMPLEMENTED, "no such method")

    def _on_message(self, identity: int, data: bytes) -> None:
        stream = self._streams.get(identity)
        if stream is None:
            self._calls.message(identity, data)
            return
        try:
            answers = stream.receive(ProcessingRequest.FromString(data))
        except Exception as error:  # one request's trouble must not be the connection's
            log.error("a stream failed: %s", type(error).__name__)
            del self._streams[identity]
            self._connection.end(identity, Status.INTERNAL, "the request could not be handled")
            return
        over = not all(
            self._connection.send(identity, answer.SerializeToString()) for answer in answers
        )
        if over or stream.done:
            del self._streams[identity]
            self._connection.end(identity)

    def _write_soon(self) -> None:
        """Once for all calls that are over in the same turn of the loop."""
        if not self._writing:
            self._writing = True
            asyncio.get_running_loop().call_soon(self._write_answers)

    def _write_answers(self) -> None:
        self._writing = False
        if not self._transport.is_closing():
            self._write()

    def _write(self) -> None:
        connection = self._connection
        out = connection.outgoing()
        if out:
            self._transport.write(out)
        if connection.fault is not None:
            log.warning("a connection is closed: %s", connection.fault)
            self._transport.close()
        elif connection.drained and self._closing is None:
            # The peer closes: what it sends until then, left unread, would be a reset to it, and
            # could cost it the last answer.
            loop = asyncio.get_running_loop()
            self._closing = loop.call_later(_LAST_WORDS, self._transport.close)
