"""Revisions, status, health, metrics, and the API's own description."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, FastAPI, Path, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from control_plane import _expiry
from control_plane.api import _docs, _metrics, _openapi, _status
from control_plane.api._access import Who
from control_plane.api._answers import Json, problem_json
from control_plane.api._queries import only
from control_plane.api.errors import NotFound
from control_plane.api.state import State


def router(state: State) -> APIRouter:
    """`/api/v1/status` and `/api/v1/revisions/{revision}`."""
    routes = APIRouter(prefix="/api/v1", tags=["status"])

    @routes.get("/status", responses=_openapi.STATUS, summary="Everything at a glance")
    async def status(request: Request, who: Who) -> Response:
        only(request)
        found = _status.system_status(state)
        seen = (
            item for item in state.reflector.snapshot.stored.values() if who.sees(item.resource)
        )
        counts = Counter(item.resource.plural for item in seen)
        found["resources"] = dict(sorted(counts.items()))
        return Json(who.told(state.reflector.snapshot).told(found))

    @routes.get(
        "/revisions/{revision}",
        responses=_openapi.REVISION,
        summary="How far a revision has come on every connected node",
    )
    async def revision_of(
        request: Request, who: Who, revision: Annotated[int, Path(ge=0, le=2**63 - 1)]
    ) -> Response:
        only(request)
        if revision > state.snapshot.revision:
            raise NotFound(f"revision {revision} does not exist yet")
        status = await state.hub.wait(state.compilation.verdicts.carrier(revision), 0)
        shown = _status.revision_status(state, replace(status, revision=revision))
        problems = [problem_json(p) for p in _status.compile_problems(state, revision)]
        if problems:
            shown["state"] = "rejected"
        body = {"revision": revision, **shown, "problems": problems}
        return Json(who.told(state.snapshot).told(body))

    return routes


def probes(state: State) -> APIRouter:
    """`/healthz`, `/readyz`, `/metrics`: without the token, and without anything that needs it."""
    routes = APIRouter(tags=["probes"])
    state.metrics.observe(lambda: _gauges(state))

    @routes.get("/healthz", openapi_extra=_openapi.OPEN, summary="Whether the process is alive")
    async def healthz() -> Response:
        return Json({"status": "alive"})

    @routes.get(
        "/readyz",
        responses=_openapi.READY,
        openapi_extra=_openapi.OPEN,
        summary="Whether nodes and callers can be served, and what is missing; `status` has more",
    )
    async def readyz() -> Response:
        missing = _status.missing_for_readiness(state)
        body = {
            "status": "not ready" if missing else "ready",
            "missing": missing,
            "degraded": _status.degraded_for_all(state),
        }
        return Json(body, status_code=503 if missing else 200)

    @routes.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses=_openapi.METRICS,
        openapi_extra=_openapi.OPEN,
        summary="For Prometheus",
    )
    async def metrics() -> Response:
        return Response(state.metrics.exposition(), headers={"content-type": _metrics.CONTENT_TYPE})

    return routes


def docs(app: FastAPI) -> APIRouter:
    """`/docs`."""
    routes = APIRouter()

    @routes.get("/docs", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(_docs.page(app.openapi()), headers=_docs.HEADERS)

    return routes


def _gauges(state: State) -> Iterable[tuple[str, str, float]]:
    live, nodes = state.compilation.live, state.hub.ledger.nodes()
    errors = sum(bool(found.error) for node in nodes for found in node.types.values())
    connected = sum(node.connected for node in nodes)
    yield "naru_reflector_revision", "Revision that is known", state.reflector.snapshot.revision
    yield "naru_compiled_revision", "Revision that is served", live.revision if live else 0
    yield "naru_etcd_connected", "1 while etcd is followed", state.reflector.trouble is None
    yield "naru_xds_connected_nodes", "Nodes connected", connected
    yield "naru_xds_rejected_types", "Types that nodes have refused last, over all nodes", errors
    now = datetime.now(UTC)
    ending = _expiry.ending(state.reflector.snapshot.resources, now)
    ended = sum(found.ended(now) for found in ending)
    yield "naru_credentials_expiring", "Credentials that expire in 14 days", len(ending) - ended
    yield "naru_credentials_expired", "Credentials that have expired, and are still sent", ended
    space = state.upkeep.space if state.upkeep is not None else None
    if space is not None:
        yield "naru_etcd_size_bytes", "Size of etcd's file, which its quota counts", space.size
        yield "naru_etcd_in_use_bytes", "Bytes of etcd's file that are in use", space.in_use
        yield "naru_etcd_quota_bytes", "Quota of etcd's file", space.quota
        yield "naru_etcd_full", "1 while etcd takes no write", space.full
    yield "naru_resources", "Resources stored", len(state.reflector.snapshot.stored)
