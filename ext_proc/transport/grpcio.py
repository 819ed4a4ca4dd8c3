"""ext_proc on grpc.aio: complete and well tested, not the fastest.

Its Python API has no way to take a listening socket over (C++ has: `AddPassiveListener`), so what
connects while a worker restarts is refused.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Final

import grpc
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse

from ext_proc.transport import _socket
from ext_proc.transport._model import StreamFactory

MAX_MESSAGE: Final = 64 << 20
"""Bytes; above Envoy's buffer limit, so that it is Envoy that refuses a body, with a 413."""
SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class GrpcioTransport:
    """See `ext_proc.transport.Transport`."""

    def __init__(self, streams: StreamFactory) -> None:
        self._streams = streams
        self._server: grpc.aio.Server | None = None
        self._path: Path | None = None

    async def start(self, path: Path, listener: socket.socket | None = None) -> None:
        if listener is not None:
            raise OSError("grpcio cannot serve a socket that is open already")
        _socket.clear(path)
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((self._handlers(),))
        with _socket.private():
            try:
                server.add_insecure_port(f"unix:{path}")
            except RuntimeError as error:
                raise OSError(f"cannot listen on {path}") from error
        await server.start()
        self._server, self._path = server, path

    async def drain(self, grace: float) -> None:
        if self._server is None or self._path is None:
            return
        await self._server.stop(grace)
        self._path.unlink(missing_ok=True)
        self._server = None

    def _handlers(self) -> grpc.GenericRpcHandler:
        process = grpc.stream_stream_rpc_method_handler(
            self._process,
            request_deserializer=ProcessingRequest.FromString,
            response_serializer=ProcessingResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Process": process})

    async def _process(self, _requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        stream = self._streams()
        while not stream.done:
            request = await context.read()
            if request is grpc.aio.EOF:
                # with OK, Envoy would send the body on as it came
                await context.abort(grpc.StatusCode.ABORTED, "ended before the body was answered")
            answer = stream.receive(request)
            if answer is not None:
                await context.write(answer)
