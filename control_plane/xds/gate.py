"""The door of an xDS server: whom it lets in, and when everybody must go.

A stream that is accepted and then told nothing holds a client: it waits instead of asking somebody
else, or using what it has kept. So as long as there is nothing to say, streams are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import grpc
import grpc.aio

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Gate(grpc.aio.ServerInterceptor):
    """Refuses streams with UNAVAILABLE while `is_open` says no; `end` sends away who is inside."""

    def __init__(self, is_open: Callable[[], bool]) -> None:
        self._is_open = is_open
        self._inside: set[asyncio.Future[None]] = set()
        self._ended: set[asyncio.Future[None]] = set()
        self.occupied = asyncio.Event()
        """Set while there is any stream."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None or handler.stream_stream is None:
            return handler
        return grpc.stream_stream_rpc_method_handler(partial(self._serve, handler.stream_stream))

    def end(self) -> None:
        """End every stream; the clients go elsewhere, or come again."""
        for stream in self._inside:
            self._ended.add(stream)
            stream.cancel()

    async def _serve(
        self,
        serve: Any,  # grpcio's types know handlers of the blocking kind only
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        if not self._is_open():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "there is nothing to serve yet")
        stream = asyncio.ensure_future(serve(requests, context))
        self._inside.add(stream)
        self.occupied.set()
        try:
            await stream
        except asyncio.CancelledError:
            if stream not in self._ended:
                raise
            await context.abort(grpc.StatusCode.UNAVAILABLE, "ask the control plane")
        finally:
            self._ended.discard(stream)
            self._inside.discard(stream)
            if not self._inside:
                self.occupied.clear()
