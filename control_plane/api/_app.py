"""The application: routers, the edge around them, one shape of errors."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from control_plane.api import _openapi, apply, keys, resources, system, versions
from control_plane.api._answers import error_answer
from control_plane.api._edge import Edge
from control_plane.api.errors import ApiError
from control_plane.api.state import State
from control_plane.resources import ResourceError
from control_plane.store import StoreError

_DESCRIPTION: Final = (
    "Resources of the gateway. Every call but the probes needs Authorization: Bearer with the "
    "admin token; errors have one shape; a resource's ETag is the revision of its last change."
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
    )
    app.add_middleware(Edge, token=state.token, limits=state.limits, metrics=state.metrics)
    for kind in _EXPECTED:
        app.add_exception_handler(kind, _answer)
    # `status`, `keys`, `apply`, `revisions` are words in the place of a kind: they come first.
    for router in (system.probes(state), system.docs(app), system.router(state)):
        app.include_router(router)
    app.include_router(apply.router(state))
    app.include_router(keys.router(state))
    app.include_router(versions.router(state))
    app.include_router(resources.router(state))
    _openapi.describe(app)
    return app


async def _answer(request: Request, error: Exception) -> Response:
    return error_answer(error, request.state.request_id)
