"""`/api/v1/audit`: the audit trail, for admins to read; `access.audit` says what is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from control_plane import access
from control_plane.access import Trail
from control_plane.api import _access, _openapi
from control_plane.api._access import Who
from control_plane.api._answers import Json
from control_plane.api._queries import only
from control_plane.api.errors import BadRequest
from control_plane.api.state import State
from control_plane.resources import KINDS, Problem
from control_plane.store import AuditEntry

_PAGE: Final = 500
_MOST_READ: Final = 10_000
"""Entries that one request looks at; a filter that finds little goes on with `continue`."""
_END: Final = 10**13 - 1
_KINDS: Final = {
    **{plural: kind.__name__ for plural, kind in KINDS.items()},
    "tokens": "Token",
    "keys": "Key",
}


def router(state: State) -> APIRouter:
    """Two reads."""
    routes = APIRouter(prefix="/api/v1", tags=["access"])

    @routes.get("/audit", responses=_openapi.AUDIT, summary="Who wrote what, the oldest first")
    async def entries(
        request: Request,
        who: Who,
        since: Annotated[str | None, Query(description="RFC 3339, with an offset.")] = None,
        until: Annotated[str | None, Query(description="RFC 3339; not included.")] = None,
        actor: Annotated[str | None, Query(max_length=64, description="A token's id.")] = None,
        resource: Annotated[
            str | None, Query(max_length=80, description="Such as proxies/menu-copy.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        token: Annotated[str | None, Query(alias="continue", pattern=r"^\d{13}-[0-9a-f]+$")] = None,
    ) -> Response:
        only(request, "since", "until", "actor", "resource", "limit", "continue")
        _access.enter(who.caller, "audit")
        span = (_milliseconds(since, "since", 0), _milliseconds(until, "until", _END))
        return Json(await _page(state, span, token, limit, _Filter(actor, resource)))

    @routes.get(
        "/audit/verification",
        responses=_openapi.VERIFICATION,
        summary="Whether the trail is whole; reads all of it",
    )
    async def verification(request: Request, who: Who) -> Response:
        only(request)
        _access.enter(who.caller, "audit")
        trail, snapshot = Trail(), state.snapshot
        head = snapshot.records.get(access.HEAD)
        async for entry in _all(state):
            if entry.revision <= snapshot.revision:  # the head knows of no later ones
                trail.add(entry.name, entry.value)
        found = trail.verified(head)
        number, digest = found.head
        return Json({
            "whole": not found.problems,
            "entries": found.entries,
            "first": found.first,
            "head": {"number": number, "hash": digest},
            "problems": found.problems,
        })  # fmt: skip

    return routes


class _Filter:
    """Which entries are asked for."""

    def __init__(self, actor: str | None, resource: str | None) -> None:
        self._actor = actor
        self._resource: tuple[str, str] | None = None
        if resource is not None:
            plural, _, name = resource.partition("/")
            if plural not in _KINDS or not name:
                mend = "Write PLURAL/NAME, such as proxies/menu-copy"
                problem = Problem("query.resource", "names no resource", mend)
                raise BadRequest("resource cannot be read", (problem,))
            self._resource = (_KINDS[plural], name)

    def takes(self, entry: dict[str, Any]) -> bool:
        if self._actor is not None and entry.get("actor", {}).get("id") != self._actor:
            return False
        named = ((each["kind"], each["name"]) for each in entry.get("resources", ()))
        return self._resource is None or self._resource in named


async def _page(
    state: State, span: tuple[int, int], after: str | None, limit: int, wanted: _Filter
) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    read = 0
    while True:
        page = await state.store.audit(*span, after, min(_PAGE, _MOST_READ - read))
        for entry in page.entries:
            after = entry.name
            shown = _shown(entry)
            if wanted.takes(shown):
                items.append(shown)
            if len(items) == limit:
                last = entry is page.entries[-1] and not page.more
                return {"items": items, "continue": None if last else after}
        read += len(page.entries)
        if not page.more or read >= _MOST_READ:
            return {"items": items, "continue": after if page.more else None}


async def _all(state: State) -> AsyncIterator[AuditEntry]:
    after: str | None = None
    while True:
        page = await state.store.audit(0, _END, after, _PAGE)
        for entry in page.entries:
            after = entry.name
            yield entry
        if not page.more:
            return


def _shown(entry: AuditEntry) -> dict[str, Any]:
    """An entry as JSON, with the revision of its write. One that is none says so."""
    try:
        found = orjson.loads(entry.value)
        if isinstance(found, dict):
            return found | {"revision": entry.revision}
    except ValueError:
        pass
    return {"unreadable": entry.name, "revision": entry.revision}


def _milliseconds(text: str | None, name: str, default: int) -> int:
    if text is None:
        return default
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError
    except ValueError:
        mend = "Write it as 2026-01-31T09:00:00Z"
        problem = Problem(f"query.{name}", "not a time with an offset", mend)
        raise BadRequest(f"{name} cannot be read", (problem,)) from None
    return int(at.timestamp() * 1000)
