"""The outermost layer of the API: request ids, who asks, body limits, faults of our own.

Plain ASGI (https://asgi.readthedocs.io/en/latest/specs/www.html), so that a body is counted while
it arrives, and nothing is kept of what a caller without the token sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
import traceback
import uuid
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.access import Caller, is_api_token
from control_plane.api._answers import error_answer
from control_plane.api.errors import ApiError, BodyTooLarge, RequestTimeout, Unauthorized
from control_plane.api.state import State
from control_plane.store import StoreError, StoreUnavailable

log = logging.getLogger("naru.api")

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"})
"""What needs no token: nothing there tells of a resource."""
APPLY_PATH: Final = "/api/v1/apply"

PAUSE_SECONDS: Final = 30.0
"""For the next part of a body, and what every body gets at least."""
SLOWEST: Final = 32 * 1024
"""Bytes per second of the slowest line that still has its body taken, whatever its size."""

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_LINGER_SECONDS: Final = 5.0
_LINGER_BYTES: Final = 256 * 1024 * 1024


def body_seconds(limit: int) -> float:
    """How long the whole body of a request may take to come that may be `limit` bytes long."""
    return PAUSE_SECONDS + limit / SLOWEST


class Edge:
    """Wraps the application; see the module."""

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        self._app = app
        self._state = state
        self._limits = state.limits
        self._metrics = state.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._limit_of(scope))
        start = time.perf_counter()
        try:
            await self._serve(scope, exchange)
        finally:
            self._metrics.answered(scope["method"], exchange.status)
            exchange.log(time.perf_counter() - start)

    async def _serve(self, scope: Scope, exchange: _Exchange) -> None:
        if scope["path"] not in OPEN_PATHS:
            caller = self._caller(exchange.authorization)
            if isinstance(caller, Exception):
                await exchange.answer(caller)
                return
            exchange.admit(caller)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            _log_fault(error, exchange.request_id)
            if exchange.status:
                raise ConnectionAbortedError("failed in the middle of an answer") from None
            await exchange.answer(error)

    def _caller(self, authorization: list[bytes]) -> Caller | ApiError | StoreError:
        """Who asks; or why that is nobody. Works from what was read last while etcd is away."""
        reflector = self._state.reflector
        records = reflector.snapshot.records
        caller = self._state.authenticator.caller(authorization, records)
        if caller is not None:
            return caller
        if is_api_token(authorization) and not reflector.synced:
            return StoreUnavailable("tokens have not been read from etcd yet")
        return Unauthorized.now()

    def _limit_of(self, scope: Scope) -> int:
        apply = scope["path"] == APPLY_PATH
        return self._limits.max_apply_bytes if apply else self._limits.max_document_bytes


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.authorization = [value for name, value in headers if name == b"authorization"]
        self.request_id = _request_id([value for name, value in headers if name == b"x-request-id"])
        self.status = 0
        self._caller = "-"
        self._scope, self._receive, self._send = scope, receive, send
        self._limit = limit
        self._size = 0
        self._complete = False
        self._until: float | None = None
        self._announced = _announced(headers)
        self._expects = any(name == b"expect" for name, _ in headers)
        scope.setdefault("state", {})["request_id"] = self.request_id

    def admit(self, caller: Caller) -> None:
        self._caller = caller.id
        self._scope["state"]["caller"] = caller

    async def receive(self) -> Message:
        """The next part of the body; raises BodyTooLarge as soon as it is known to be.

        Raises RequestTimeout if it does not come in time.
        """
        if self._announced > self._limit:
            raise self._too_large()
        message = await (self._next() if self._complete else self._next_in_time())
        if self._size > self._limit:
            raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._linger()
            self.status = message["status"]
            own = ((b"x-request-id", self.request_id.encode()), (b"cache-control", b"no-store"))
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        await self._send(message)

    async def answer(self, error: Exception) -> None:
        await error_answer(error, self.request_id)(self._scope, self._receive, self.send)

    def log(self, seconds: float) -> None:
        path = ascii(self._scope["path"][:200])
        method, took = self._scope["method"][:16], 1000 * seconds
        level = logging.INFO if self._scope["path"] not in OPEN_PATHS else logging.DEBUG
        client = (self._scope.get("client") or ("-",))[0]
        form = "%s %s %d %.1f ms %s by %s from %s"
        log.log(level, form, method, path, self.status, took, self.request_id, self._caller, client)

    async def _next(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        self._complete = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def _next_in_time(self) -> Message:
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = now + body_seconds(self._limit)
        try:
            async with asyncio.timeout_at(min(self._until, now + PAUSE_SECONDS)):
                return await self._next()
        except TimeoutError:
            self._complete = True  # nobody waits for the rest of it
            text = "the body came too slowly; nothing was written"
            raise RequestTimeout(text, headers={"connection": "close"}) from None

    async def _linger(self) -> None:
        """Drop the rest of the body: many clients read no answer before all of it is sent."""
        if self._complete or self._expects or not self._announced:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while not self._complete and self._size < _LINGER_BYTES:
                    await self._next()

    def _too_large(self) -> ApiError:
        return BodyTooLarge(f"the body is larger than {self._limit:,} bytes; nothing was written")


def _announced(headers: list[tuple[bytes, bytes]]) -> int:
    """Bytes of the body that the headers speak of; 1 for one of unknown length."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
        if name == b"transfer-encoding":
            return 1
    return 0


def _request_id(given: list[bytes]) -> str:
    if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]):
        return given[0].decode()
    return uuid.uuid4().hex


def _log_fault(error: BaseException, request_id: str) -> None:
    """Where it failed and with what types; messages are left out, for they may quote a request."""
    causes, each = [], error
    for _ in range(8):
        causes.append(type(each).__qualname__)
        following = each.__cause__ or each.__context__
        if following is None:
            break
        each = following
    frames = "".join(
        f"\n  {f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)
    )
    log.error("request %s failed: %s%s", request_id, " from ".join(causes), frames)
