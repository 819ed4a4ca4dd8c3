"""`/api/v1/credentials/{name}/versions` and `…/rollback`: what a secret was before, and back to it.

No answer holds a secret. An administrator's business alone.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from control_plane.api import _access, _answers, _openapi, _status, _versions, _writes
from control_plane.api._access import Asking, Intent, Who
from control_plane.api._answers import Json
from control_plane.api._queries import Name, message_of, only, seconds
from control_plane.api.errors import NotFound
from control_plane.api.state import State
from control_plane.resources import Credential, Key
from control_plane.store import Build, Changes, SealerLike, Snapshot


def router(state: State) -> APIRouter:
    """The routes of versions."""
    routes = APIRouter(prefix="/api/v1/credentials/{name}", tags=["credentials"])

    @routes.get("/versions", responses=_openapi.VERSIONS, summary="The versions of a credential")
    async def list_versions(request: Request, who: Who, name: Name) -> Response:
        only(request)
        _access.enter(who.caller, "keys")
        snapshot, key = state.snapshot, Key(Credential.plural, name)
        if key not in snapshot.stored:
            raise NotFound.of(key)
        *earlier, present = _versions.of(snapshot, key)
        items = [_versions.shown(present, True)]
        items += [_versions.shown(version, False) for version in reversed(earlier)]
        return Json({"items": items}, headers=_answers.revision_headers(snapshot.revision))

    @routes.post(
        "/rollback",
        responses=_openapi.ROLLBACK,
        summary="Use the secret of an earlier version again, as a new version",
    )
    async def rollback(
        request: Request,
        who: Who,
        name: Name,
        version: Annotated[
            int | None, Query(ge=1, le=2**31, description="Its number; else the one before.")
        ] = None,
        wait: Annotated[
            str | None, Query(description="Wait so long for every connected node.")
        ] = None,
    ) -> Response:
        only(request, "version", "wait", "message")
        _access.enter(who.caller, "keys")
        patience = None if wait is None else seconds(wait)
        build = _rollback(state, who, Key(Credential.plural, name), version, message_of(request))
        return await _written(state, build, Key(Credential.plural, name), patience)

    return routes


def _rollback(
    state: State, who: Asking, key: Key, number: int | None, message: str | None
) -> Build:
    """What the rollback writes, with its entry in the audit trail."""
    sealing = _sealing(state)

    def build(snapshot: Snapshot) -> Changes:
        return _versions.put_back(snapshot, key, number, sealing, who.caller.name)

    return _access.guarded(state, who, build, [Intent(key)], message)


async def _written(state: State, build: Build, key: Key, wait: float | None) -> Response:
    written = await _writes.commit(state, build, [(key, Credential.__name__)])
    stored = written.stored(key)
    body, code = _answers.document(stored.resource, stored.revision), 200
    if wait is not None:
        status = await _writes.settled(state, written, wait)
        body["status"] = _status.revision_status(state, status, written.keys)
        code = 200 if status.state == "applied" else 202
    headers = _answers.revision_headers(written.revision, stored.revision)
    return Json(body, status_code=code, headers=headers)


def _sealing(state: State) -> SealerLike:
    if state.keys is None:
        raise NotFound("no versions are kept here")
    return state.keys.sealing
