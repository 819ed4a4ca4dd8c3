"""`POST /api/v1/apply`: many documents, one transaction, all or nothing, in any order."""

from __future__ import annotations

import asyncio
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from control_plane.api import _access, _body, _changes, _documents, _openapi, _writes
from control_plane.api._access import Who
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
    async def apply(request: Request, who: Who, options: Options) -> Response:
        batch = await _body.read(request, understand)
        wanted = [_access.of_document(r, f"documents[{i}]") for i, r in batch.resources.items()]
        if batch.problems:
            find = _access.guarded(state, who, partial(_all_problems, batch=batch), wanted)
            await asyncio.to_thread(find, state.snapshot)
        keys = [(r.key, type(r).__name__) for r in batch.resources.values()]

        own = [key for key, _ in keys]
        build = _access.guarded(
            state, who, lambda s: _changes.apply(s, batch.resources), wanted, options.message
        )
        if options.dry_run:
            tried = await _writes.attempt(state, build, keys)
            return Json(tried.answer(who.told(state.snapshot, own).differences))
        written = await _writes.commit(state, build, keys)
        told = who.told(state.snapshot, own)
        return await _writes.receipt(state, written, options.wait, told.told)

    return routes


def _all_problems(snapshot: Snapshot, batch: Batch) -> Changes:
    """Raises what is wrong with single documents, and what the others would break."""
    problems = batch.problems
    try:
        _changes.apply(snapshot, batch.resources, batch.broken)
    except ResourceError as error:
        problems = (*problems, *error.problems)
    except VersionConflict as error:
        problems = (*problems, *error.problems)
    raise InvalidResource(problems)
