"""The door: no request below `/v1` goes in without the bearer token. Checked before a body is read."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import InvalidToken


class Token:
    """Keeps only a hash, and compares in a time that says nothing about what is right so far."""

    def __init__(self, token: str) -> None:
        self._hash = _sha256(token.encode())

    def admits(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether the one `Authorization` header is `Bearer` and the token."""
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        same = hmac.compare_digest(_sha256(token.strip()), self._hash)
        return same and scheme.lower() == b"bearer"


class RequireToken:
    """ASGI middleware; the token is in `app.state.token`, and while there is none nobody gets in."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._admits(scope):
            await self._app(scope, receive, send)
            return
        refusal = InvalidToken()
        response = JSONResponse(refusal.body(), refusal.status, refusal.headers())
        await response(scope, receive, send)

    @staticmethod
    def _admits(scope: Scope) -> bool:
        token: Token | None = getattr(scope["app"].state, "token", None)
        return token is not None and token.admits(scope["headers"])


def _sha256(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()
