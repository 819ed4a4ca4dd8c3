"""`/api/v1/{kinds}` and `/api/v1/{kinds}/{name}`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from control_plane.api import (
    _access,
    _answers,
    _body,
    _changes,
    _documents,
    _openapi,
    _pages,
    _status,
    _writes,
)
from control_plane.api._access import Asking, Intent, Who
from control_plane.api._answers import Json
from control_plane.api._documents import MEDIA_TYPES, PATCH_MEDIA_TYPES, Syntax
from control_plane.api._queries import Expected, Kind, Name, Options, WriteOptions, only
from control_plane.api.errors import ApiError, NotFound, Unreadable
from control_plane.api.state import State
from control_plane.resources import KINDS, Key, Resource
from control_plane.store import Build


def router(state: State) -> APIRouter:
    """The routes of single resources and lists."""
    routes = APIRouter(prefix="/api/v1", tags=["resources"])
    _add_reads(routes, state)
    _add_writes(routes, state)
    return routes


def _add_reads(routes: APIRouter, state: State) -> None:
    @routes.get("/{kinds}", responses=_openapi.LIST, summary="List resources of a kind")
    async def list_resources(
        request: Request,
        who: Who,
        kind: Kind,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        token: Annotated[str | None, Query(alias="continue", max_length=256)] = None,
        team: Annotated[str | None, Query(max_length=63)] = None,
    ) -> Response:
        only(request, "limit", "continue", "team")
        snapshot = state.snapshot
        page = _pages.page(
            snapshot.stored, kind.plural, limit=limit, token=token, team=team, sees=who.sees
        )
        items = [_answers.document(item.resource, item.revision) for item in page.items]
        headers = _answers.revision_headers(snapshot.revision)
        return Json({"items": items, "continue": page.token}, headers=headers)

    @routes.get("/{kinds}/{name}", responses=_openapi.READ, summary="Read a resource")
    async def get_resource(request: Request, who: Who, kind: Kind, name: Name) -> Response:
        only(request)
        snapshot = state.snapshot
        stored = snapshot.stored.get(Key(kind.plural, name))
        if stored is None or not who.sees(stored.resource):
            raise _missing(state, who, Key(kind.plural, name))
        headers = _answers.revision_headers(snapshot.revision, stored.revision)
        return Json(_answers.document(stored.resource, stored.revision), headers=headers)


def _add_writes(routes: APIRouter, state: State) -> None:
    def understand(body: bytes, syntax: Syntax) -> Resource:
        return _documents.resource(body, syntax, state.addresses)

    @routes.put(
        "/{kinds}/{name}",
        responses=_openapi.PUT,
        openapi_extra=_openapi.body(MEDIA_TYPES),
        summary="Create or replace a resource",
    )
    async def put_resource(
        request: Request, who: Who, kind: Kind, name: Name, options: Options, expected: Expected
    ) -> Response:
        key = Key(kind.plural, name)
        _access.writes(who, key.plural)
        resource = await _body.read(request, understand)
        _changes.must_be(key, resource)
        wanted = _access.of_document(resource)
        return await _write(
            state, who, wanted, lambda s: _changes.put(s, resource, expected), options
        )

    @routes.patch(
        "/{kinds}/{name}",
        responses=_openapi.PATCH,
        openapi_extra=_openapi.body(PATCH_MEDIA_TYPES),
        summary="Change a part of a resource (JSON merge patch, RFC 7396)",
    )
    async def patch_resource(
        request: Request, who: Who, kind: Kind, name: Name, options: Options, expected: Expected
    ) -> Response:
        key = Key(kind.plural, name)
        _access.writes(who, key.plural)
        document = await _body.read(request, _documents.one, PATCH_MEDIA_TYPES)
        wanted = _access.of_patch(key, document)
        return await _write(
            state,
            who,
            wanted,
            lambda s: _changes.patch(s, key, document, expected, state.addresses),
            options,
        )

    @routes.delete(
        "/{kinds}/{name}", responses=_openapi.DELETE, summary="Delete a resource that nothing names"
    )
    async def delete_resource(
        who: Who, kind: Kind, name: Name, options: Options, expected: Expected
    ) -> Response:
        key = Key(kind.plural, name)
        wanted = Intent(key, "delete")
        return await _delete(
            state, who, wanted, lambda s: _changes.delete(s, key, expected), options
        )


async def _write(
    state: State, who: Asking, wanted: Intent, build: Build, options: WriteOptions
) -> Response:
    """PUT and PATCH: the resource as it is now, and with `wait` its `status` as one more field."""
    key = wanted.key
    keys = [(key, _kind_name(key))]
    build = _access.guarded(state, who, build, [wanted], options.message)
    if options.dry_run:
        tried = await _writes.attempt(state, build, keys)
        return Json(tried.answer(who.told(state.snapshot, [key]).differences))
    written = await _writes.commit(state, build, keys)
    stored = written.stored(key)
    body = _answers.document(stored.resource, stored.revision)
    code = 201 if written.results[0].change == "created" else 200
    if options.wait is not None:
        status = await _writes.settled(state, written, options.wait)
        told = who.told(state.snapshot, [key])
        body["status"] = told.told(_status.revision_status(state, status, written.keys))
        code = code if status.state == "applied" else 202
    headers = _answers.revision_headers(written.revision, stored.revision)
    return Json(body, status_code=code, headers=headers)


async def _delete(
    state: State, who: Asking, wanted: Intent, build: Build, options: WriteOptions
) -> Response:
    key = wanted.key
    keys = [(key, _kind_name(key))]
    build = _access.guarded(state, who, build, [wanted], options.message)
    if options.dry_run:
        tried = await _writes.attempt(state, build, keys)
        return Json(tried.answer(who.told(state.snapshot, [key]).differences))
    written = await _writes.commit(state, build, keys)
    told = who.told(written.snapshot, [key])
    return await _writes.receipt(state, written, options.wait, told.told)


def _missing(state: State, who: Asking, key: Key) -> ApiError:
    """Why a resource is not in the snapshot; whose it is cannot be told of an unreadable one."""
    for problem in state.reflector.problems.values():
        if problem.key == str(key) and who.told(state.snapshot).open:
            return Unreadable(f"{key} is stored, but cannot be read: {problem.message}")
    return NotFound.of(key)


def _kind_name(key: Key) -> str:
    return KINDS[key.plural].__name__
