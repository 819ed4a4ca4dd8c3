"""The application: routers, the edge around them, one shape of errors."""

from __future__ import annotations

from functools import partial
from typing import Final

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from control_plane.api import (
    _access,
    _openapi,
    apply,
    audit,
    keys,
    resources,
    system,
    tokens,
    versions,
)
from control_plane.api._answers import error_answer
from control_plane.api._discretion import Discretion
from control_plane.api._edge import Edge
from control_plane.api.errors import ApiError, NotCompiled, RejectedByNode
from control_plane.api.state import State
from control_plane.resources import ResourceError
from control_plane.store import StoreError

_DESCRIPTION: Final = (
    "Resources of the gateway. Every call but the probes needs Authorization: Bearer with a token; "
    "errors have one shape; a resource's ETag is the revision of its last change."
)
_EXPECTED: Final = (ApiError, ResourceError, StoreError, RequestValidationError, HTTPException)


def create_app(state: State) -> FastAPI:
    """The API over `state`. Starts nothing and reads nothing."""
    app = FastAPI(
        title="Naru control plane",
        version="1",
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(_access.closed)],
    )
    app.add_middleware(Edge, state=state)
    for kind in _EXPECTED:
        app.add_exception_handler(kind, partial(_answer, state))
    # `status`, `tokens` and the like are words in the place of a kind, so they come first.
    for router in (system.probes(state), system.docs(app), system.router(state)):
        app.include_router(router)
    for part in (apply, tokens, audit, keys, versions, resources):
        app.include_router(part.router(state))
    _openapi.describe(app)
    return app


async def _answer(state: State, request: Request, error: Exception) -> Response:
    caller = getattr(request.state, "caller", None)
    if caller is not None and isinstance(error, NotCompiled | RejectedByNode):
        error = Discretion(caller, state.reflector.snapshot, error.own).error(error)
    return error_answer(error, request.state.request_id)
