"""Streamed answers: what an event costs, how soon the first one comes, what slow streams hold.

Three shapes. *burst*: the provider writes all events at once, so many of them travel in one piece.
*paced*: one write for each event, as a model makes them. *slow*: many streams that wait most of the
time, for what each keeps in memory.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from bench import upstream
from bench.arena import Arena, Entrant
from bench.contestants import RESTORED, Request
from bench.load import streams
from bench.processes import Roles, cpu_by_role, rss_by_role

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shape:
    """How a provider streams, and to how many at once; `pace_ms` lies between two events."""

    streams: int
    events: int
    pace_ms: float


SHAPES: Final[Mapping[str, Shape]] = {
    "burst": Shape(streams=8, events=400, pace_ms=0),
    "paced": Shape(streams=32, events=200, pace_ms=10),
    "slow": Shape(streams=1000, events=6, pace_ms=1000),
}


def measure(arena: Arena, entrant: Entrant, shape: Shape, seconds: float) -> dict[str, Any]:
    """Streams for so many seconds, each checked."""
    roles = {**entrant.system.roles, "upstream": [arena.upstream.pid]}
    request = _streamed(entrant.request, shape)
    duplex = entrant.contestant.name.startswith("duplex")
    text, mark = upstream.stream_text(shape.events), ""
    if duplex:
        text, mark = text.replace(upstream.MARK, RESTORED), upstream.MARK
    before, mistakes = cpu_by_role(roles), arena.upstream_stats()["mistakes"]
    found, rss = _watched(
        lambda: streams(request, shape.streams, seconds, shape.events, text, mark),
        entrant.system.roles,
    )
    after = cpu_by_role(roles)
    if arena.upstream_stats()["mistakes"] != mistakes:
        found["errors"]["refused by the provider"] = 1
    cost = {role: (after[role] - before[role]) * 1e6 / max(1, found["events"]) for role in roles}
    return {
        "streams_at_once": shape.streams,
        "events_per_stream": shape.events,
        "pace_ms": shape.pace_ms,
        **found,
        "events_per_second": found["events"] / found["seconds"],
        "cpu_us_per_event": {role: round(micros, 2) for role, micros in cost.items()},
        "rss_mb": round(sum(rss.values()), 1),
        "rss_mb_by_role": {role: round(size, 1) for role, size in rss.items()},
    }


def _streamed(request: Request, shape: Shape) -> Request:
    body = json.dumps(json.loads(request.body) | {"stream": True}).encode()
    stream = {upstream.STREAM_HEADER: f"{shape.events},{shape.pace_ms:g}"}
    return Request(request.url, body, {**request.headers, **stream})


def _watched(work: Callable[[], T], roles: Roles) -> tuple[T, dict[str, float]]:
    """What `work` answers, and the most memory that each role had meanwhile."""
    most = rss_by_role(roles)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            for role, size in rss_by_role(roles).items():
                most[role] = max(most[role], size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return work(), most
    finally:
        ended.set()
        watcher.join()
