"""`POST /api/v1/apply`: many documents, one transaction, all or nothing, in any order."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from control_plane.api import _body, _changes, _documents, _openapi, _writes
from control_plane.api._answers import Json
from control_plane.api._documents import MEDIA_TYPES, Batch, Syntax
from control_plane.api._queries import Options
from control_plane.api.errors import VersionConflict
from control_plane.api.state import State
from control_plane.resources import InvalidResource, ResourceError
from control_plane.store import Changes, Snapshot


def router(state: State) -> APIRouter:
    """The one route of this module."""
    routes = APIRouter(prefix="/api/v1", tags=["resources"])

    def understand(body: bytes, syntax: Syntax) -> Batch:
        return _documents.batch(body, syntax, state.limits.max_documents, state.addresses)

    @routes.post(
        "/apply",
        responses=_openapi.APPLY,
        openapi_extra=_openapi.body(MEDIA_TYPES, many=True),
        summary="Create or replace many resources in one transaction",
    )
    async def apply(request: Request, options: Options) -> Response:
        batch = await _body.read(request, understand)
        if batch.problems:
            raise await asyncio.to_thread(_all_problems, state.snapshot, batch)
        keys = [(r.key, type(r).__name__) for r in batch.resources.values()]

        def build(snapshot: Snapshot) -> Changes:
            return _changes.apply(snapshot, batch.resources)

        if options.dry_run:
            return Json((await _writes.attempt(state, build, keys)).answer())
        written = await _writes.commit(state, build, keys)
        return await _writes.receipt(state, written, options.wait)

    return routes


def _all_problems(snapshot: Snapshot, batch: Batch) -> InvalidResource:
    """What is wrong with single documents, and what the others would break between each other."""
    problems = batch.problems
    try:
        _changes.apply(snapshot, batch.resources, batch.broken)
    except ResourceError as error:
        problems = (*problems, *error.problems)
    except VersionConflict as error:
        problems = (*problems, *error.problems)
    return InvalidResource(problems)
