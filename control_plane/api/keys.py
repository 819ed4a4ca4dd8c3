"""`/api/v1/keys`: the key-encryption keys, their rotation, and which of them can go.

Ids only: no answer holds a key. An administrator's business alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from control_plane import access
from control_plane.access import Act
from control_plane.api import _access, _openapi
from control_plane.api._access import Who
from control_plane.api._answers import Json
from control_plane.api._queries import message_of, only
from control_plane.api.errors import NotFound
from control_plane.api.state import Keys, State
from control_plane.store import Build, Changes, KeyUse, Snapshot

_SECONDS = 5.0
"""How long one request goes on with a rotation."""


def router(state: State) -> APIRouter:
    """The routes of the keys."""
    routes = APIRouter(prefix="/api/v1/keys", tags=["keys"])

    @routes.get("", responses=_openapi.KEYS, summary="Every key-encryption key, and what needs it")
    async def list_keys(request: Request, who: Who) -> Response:
        only(request)
        _access.enter(who.caller, "keys")
        keys = _keys(state)
        return Json({"source": keys.source, "keys": [_shown(key) for key in await keys.keys()]})

    @routes.post(
        "/rotate",
        responses=_openapi.ROTATE,
        summary="Seal every secret with a new key: 200 when it is done, 202 to ask again",
    )
    async def rotate(
        request: Request,
        who: Who,
        to: Annotated[
            str | None,
            Query(
                pattern="^[0-9a-f]{16}$",
                description="Go on with the rotation to this key, and begin no other.",
            ),
        ] = None,
    ) -> Response:
        only(request, "to", "message")
        _access.enter(who.caller, "keys")
        message = message_of(request)

        def judged(build: Build) -> Build:
            return _access.guarded(state, who, build, (), message)

        progress = await _keys(state).rotate(to, _SECONDS, judged)
        body = {
            "primary": progress.primary,
            "resealed": progress.resealed,
            "left": progress.left,
            "unreadable": progress.unreadable,
        }
        return Json(body, status_code=202 if progress.left else 200)

    @routes.post(
        "/prune", responses=_openapi.KEYS, summary="Drop the keys that nothing is sealed with"
    )
    async def prune(request: Request, who: Who) -> Response:
        only(request, "message")
        _access.enter(who.caller, "keys")
        message = message_of(request)
        dropped = await _keys(state).prune()
        await state.store.commit(partial(_entered, act=who.act(message), dropped=dropped))
        return Json({"dropped": list(dropped)})

    return routes


def _entered(snapshot: Snapshot, act: Act, dropped: Sequence[str]) -> Changes:
    """The entry of dropped keys in the audit trail; etcd itself holds none of them.

    It is written when they are gone, for a source that lets no key go must leave no entry; so it is
    not judged any more, or a token revoked meanwhile would leave none of what it did.
    """
    gone = Changes(records=dict.fromkeys((f"keys/{kek}" for kek in dropped), None))
    return access.written(snapshot, gone, act, time.time())


def _keys(state: State) -> Keys:
    if state.keys is None:
        raise NotFound("no keys are managed here")
    return state.keys


def _shown(key: KeyUse) -> dict[str, object]:
    return {
        "id": key.id,
        "primary": key.primary,
        "held": key.held,
        "values": key.values,
        "replicas": list(key.replicas),
        "needed": key.needed,
    }
