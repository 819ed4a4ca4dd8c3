"""ext_proc on grpc.aio: complete and well tested, not the fastest.

Its Python API has no way to take a listening socket over (C++ has: `AddPassiveListener`), so what
connects while a worker restarts is refused.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import grpc
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse

from ext_proc.transport import _socket
from ext_proc.transport._calls import answered
from ext_proc.transport._model import NO_UNARY, StreamFactory, Unary

MAX_MESSAGE: Final = 64 << 20
"""Bytes; above Envoy's buffer limit, so that it is Envoy that refuses a body, with a 413."""
METHOD: Final = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class GrpcioTransport:
    """See `ext_proc.transport.Transport`."""

    def __init__(
        self, streams: StreamFactory | None = None, unary: Mapping[str, Unary] = NO_UNARY
    ) -> None:
        self._streams = streams
        self._unary = unary
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
        methods = {path: _unary(unary) for path, unary in self._unary.items()}
        if self._streams is not None:
            methods[METHOD] = _process(self._streams)
        return _Methods(methods)


class _Methods(grpc.GenericRpcHandler):
    """Handlers by full path, of any service."""

    def __init__(self, methods: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._methods = methods

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        return self._methods.get(details.method)


def _process(streams: StreamFactory) -> grpc.RpcMethodHandler[Any, Any]:
    async def process(_requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        stream = streams()
        while not stream.done:
            request = await context.read()
            if request is grpc.aio.EOF:
                # with OK, Envoy would send the body on as it came
                await context.abort(grpc.StatusCode.ABORTED, "ended before the body was answered")
            for answer in stream.receive(request):
                await context.write(answer)

    return grpc.stream_stream_rpc_method_handler(
        process,
        request_deserializer=ProcessingRequest.FromString,
        response_serializer=ProcessingResponse.SerializeToString,
    )


def _unary(unary: Unary) -> grpc.RpcMethodHandler[Any, Any]:
    """As a stream: grpc.aio's own unary handler overlooks a second message, and a missing one."""

    async def call(_requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        request: Any = await context.read()
        if request is grpc.aio.EOF:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "no message")
        answer = asyncio.create_task(answered(unary, request))
        second: asyncio.Future[Any] = asyncio.ensure_future(context.read())
        try:
            await asyncio.wait((answer, second), return_when=asyncio.FIRST_COMPLETED)
            if second.done() and second.result() is not grpc.aio.EOF:
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, "more than one message")
            await asyncio.wait((answer,))
            if answer.cancelled() or (message := answer.result()) is None:
                await context.abort(grpc.StatusCode.INTERNAL, "the call could not be handled")
            await context.write(message)
        finally:
            answer.cancel()
            second.cancel()

    return grpc.stream_stream_rpc_method_handler(call)
