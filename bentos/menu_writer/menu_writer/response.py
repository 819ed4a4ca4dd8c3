"""One answer on its way out: whole or streamed, given up as soon as the caller hangs up.

The head of a streamed answer waits for the first event of the model, so that whatever goes wrong
before it still gets its own HTTP status.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from . import sse
from .answers import Shape
from .engine import Event
from .errors import ServiceError
from .generation import End, Piece

_log = logging.getLogger("bentoml.menu_writer")
_CLIENT_CLOSED_REQUEST = 499  # nobody reads it


class Answer(Response):
    """`events` is closed, and the model with it stopped, however this ends."""

    def __init__(
        self, shape: Shape, events: AsyncGenerator[Event, None], *, stream: bool, usage: bool
    ) -> None:
        super().__init__()
        self._shape = shape
        self._events = events
        self._stream = stream
        self._usage = usage
        self._finished = False
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on_hang_up, receive, tasks.cancel_scope)
            async with aclosing(self._events) as events:
                write = self._write_stream if self._stream else self._write_whole
                await write(events, scope, receive, send)
            self._finished = True
            tasks.cancel_scope.cancel()
        if not self._finished:
            _log.info("the caller hung up: stopped")
            if not self._started:  # what is around this one waits for an answer until there is one
                await Response(status_code=_CLIENT_CLOSED_REQUEST)(scope, receive, send)

    async def _write_whole(
        self, events: AsyncGenerator[Event, None], scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            text, end = "", None
            async for event in events:
                if isinstance(event, Piece):
                    text += self._shape.text(event.text)
                else:
                    end = event
            assert end is not None, "a generation that did not fail ends with End"
            response = JSONResponse(self._shape.whole(text, end.finish_reason, end.usage))
        except ServiceError as error:
            response = error_response(error)
        self._started = True
        await response(scope, receive, send)

    async def _write_stream(
        self, events: AsyncGenerator[Event, None], scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            async for event in events:
                if not self._started:
                    self._started = True
                    await self._start(send)
                await _send_body(send, self._encode(event))
        except ServiceError as error:
            if not self._started:
                self._started = True
                await error_response(error)(scope, receive, send)
                return
            await _send_body(send, sse.encode(error.body()))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _start(self, send: Send) -> None:
        headers = [(b"content-type", sse.CONTENT_TYPE.encode()), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _send_body(send, b"".join(map(sse.encode, self._shape.opening())))

    def _encode(self, event: Event) -> bytes:
        match event:
            case Piece(text):
                shown = self._shape.text(text)
                return sse.encode(self._shape.chunk(shown)) if shown else b""
            case End(reason, usage):
                last = [self._shape.ending(reason)] + ([self._shape.usage(usage)] if self._usage else [])
                return b"".join(map(sse.encode, last)) + sse.DONE


def error_response(error: ServiceError) -> JSONResponse:
    return JSONResponse(error.body(), error.status, error.headers())


async def _send_body(send: Send, body: bytes) -> None:
    if body:
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _cancel_on_hang_up(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
