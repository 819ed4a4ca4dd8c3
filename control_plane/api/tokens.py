"""`/api/v1/tokens` and `/api/v1/whoami`: API tokens, made, listed and revoked."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from control_plane import access
from control_plane.access import TokenRequest
from control_plane.api import _access, _body, _documents, _openapi
from control_plane.api._access import Asking, Who
from control_plane.api._answers import Json, revision_headers
from control_plane.api._documents import MEDIA_TYPES
from control_plane.api._queries import Message, only
from control_plane.api.errors import NotFound
from control_plane.api.state import State
from control_plane.store import Changes, Snapshot

TokenId = Annotated[str, Path(alias="id", description="What stands between its underscores.")]


def router(state: State) -> APIRouter:
    """Only `whoami` is for everybody; the rest is for admins, judged inside the transaction."""
    routes = APIRouter(prefix="/api/v1", tags=["access"])
    _add_reads(routes, state)
    _add_writes(routes, state)
    return routes


def _add_reads(routes: APIRouter, state: State) -> None:
    @routes.get("/whoami", responses=_openapi.WHOAMI, summary="The token that this request has")
    async def whoami(request: Request, who: Who) -> Response:
        only(request)
        caller = who.caller
        shown: dict[str, Any] = {"id": caller.id, "name": caller.name}
        shown |= {"roles": sorted(caller.roles), "teams": sorted(caller.teams)}
        return Json(shown | {"expiresAt": access.rfc3339(caller.expires_at)})

    @routes.get("/tokens", responses=_openapi.TOKENS, summary="List the API tokens")
    async def list_tokens(request: Request, who: Who) -> Response:
        only(request)
        _access.enter(who.caller, "tokens")
        snapshot = state.snapshot
        items = [token.shown() for token in access.tokens_in(snapshot)]
        return Json({"items": items}, headers=revision_headers(snapshot.revision))


def _add_writes(routes: APIRouter, state: State) -> None:
    @routes.post(
        "/tokens",
        responses=_openapi.TOKEN,
        openapi_extra=_openapi.body(MEDIA_TYPES, model="TokenRequest"),
        summary="Make an API token; it is shown this once",
    )
    async def create_token(request: Request, who: Who, message: Message) -> Response:
        _access.enter(who.caller, "tokens")
        asked = TokenRequest.of(await _body.read(request, _documents.one), time.time())
        token, text = access.mint(asked, who.caller, time.time())
        revision = await _commit(state, who, {token.record: token.encode()}, message)
        shown: dict[str, Any] = token.shown() | {"token": text}
        return Json(shown, status_code=201, headers=revision_headers(revision))

    @routes.delete("/tokens/{id}", responses=_openapi.REVOKED, summary="Revoke an API token")
    async def revoke_token(who: Who, message: Message, token_id: TokenId) -> Response:
        _access.enter(who.caller, "tokens")
        if not access.is_token_id(token_id):
            raise _unknown()
        revision = await _commit(state, who, {access.record_name(token_id): None}, message)
        return Json({"revision": revision}, headers=revision_headers(revision))


async def _commit(
    state: State, who: Asking, records: dict[str, bytes | None], message: str | None
) -> int:
    """Write the records; raises NotFound when one that is to be deleted does not exist."""

    def build(snapshot: Snapshot) -> Changes:
        _access.enter(_access.current(state, who, snapshot), "tokens")
        for name, value in records.items():
            if value is None and name not in snapshot.records:
                raise _unknown()
        return Changes(records=records)

    return await state.store.commit(_access.guarded(state, who, build, (), message))


def _unknown() -> NotFound:
    return NotFound("there is no token with this id")
