"""One round: load on one contestant, and what everybody's processes used meanwhile.

Rounds are interleaved (every contestant once, then every contestant again), so that a machine that
slows down hurts all alike.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from bench.arena import Arena, Entrant, Say
from bench.contestants import PEERS
from bench.load import Load, Tool
from bench.processes import cpu_by_role, rss_by_role

_QUIET: Final = 0.3  # seconds without a request, at least, after which a round is over
_LONGEST: Final = 10.0
_WARM_UP: Final = 2.0
_PEERS_WARM_UP: Final = 12.0


@dataclass(frozen=True, slots=True)
class Round:
    """One contestant's.

    Attributes:
        cpu_us: per request that reached the provider, by role of its system. (wrk does not count
            what is under way when it stops, which is a tenth of a slow contestant's round.)
        harness_cpu_us: the same for the provider and the client.
        upstream_share: of one core, that the provider used; near 1 it is what was measured.
        strangers: cores that neither the contestant nor the harness used.
        problems: why the round counts for nothing; empty if it counts.
    """

    load: Load
    cpu_us: dict[str, float]
    harness_cpu_us: dict[str, float]
    upstream_share: float
    strangers: float
    rss_mb: dict[str, float]
    problems: list[str] = field(default_factory=list)

    @property
    def rps(self) -> float:
        return self.load.requests / self.load.seconds


def interleaved(
    arena: Arena, tool: Tool, rounds: int, seconds: float, connections: int, say: Say
) -> dict[str, list[Round]]:
    """All rounds by contestant, after one that is thrown away."""
    found: dict[str, list[Round]] = {entrant.name: [] for entrant in arena.entrants}
    for number in range(rounds + 1):
        warm_up = number == 0
        label = "warm-up" if warm_up else f"round {number} of {rounds}"
        for entrant in arena.entrants:
            lasts = _warm_up(entrant, seconds) if warm_up else seconds
            one = measure(arena, entrant, tool, lasts, connections)
            say(f"{label:<14}{entrant.name:<16}{one.rps:>8.0f} req/s  {', '.join(one.problems)}")
            if not warm_up:
                found[entrant.name].append(one)
    return found


def _warm_up(entrant: Entrant, seconds: float) -> float:
    """Portkey's speed quadruples in its first ten seconds, while Node compiles."""
    return _PEERS_WARM_UP if entrant.contestant.system in PEERS else min(seconds, _WARM_UP)


def measure(arena: Arena, entrant: Entrant, tool: Tool, seconds: float, connections: int) -> Round:
    """Load for so many seconds."""
    with arena.alone(entrant):
        roles = {**entrant.system.roles, "upstream": [arena.upstream.pid]}
        began, busy = time.monotonic(), _busy()
        seen, before = arena.upstream_stats(), cpu_by_role(roles)
        load = tool(entrant.request, connections, seconds)
        now_seen = _when_quiet(arena, max(_QUIET, 2 * load.p99_ms / 1000))
        after, rss = cpu_by_role(roles), rss_by_role(entrant.system.roles)
        lasted, busy = time.monotonic() - began, _busy() - busy
    used = {role: after[role] - before[role] for role in roles}
    strangers = max(0.0, busy - sum(used.values()) - load.cpu_seconds) / lasted
    upstream = used.pop("upstream")
    problems = list(_problems(load, seen, now_seen, connections))
    if entrant.system.roles != {role: roles[role] for role in used}:
        problems.append("a process was started anew")
    count = max(1, now_seen["requests"] - seen["requests"])
    return Round(
        load=load,
        cpu_us={role: seconds * 1e6 / count for role, seconds in used.items()},
        harness_cpu_us={"upstream": upstream * 1e6 / count, "load": load.cpu_seconds * 1e6 / count},
        upstream_share=upstream / load.seconds,
        strangers=strangers,
        rss_mb=rss,
        problems=problems,
    )


def _busy() -> float:
    """Seconds of CPU of the whole machine, the kernel's included."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def _when_quiet(arena: Arena, quiet: float) -> dict[str, Any]:
    """The provider's counts once what was under way has ended."""
    deadline = time.monotonic() + _LONGEST
    seen = arena.upstream_stats()
    while time.monotonic() < deadline:
        time.sleep(quiet)
        before, seen = seen, arena.upstream_stats()
        if before["requests"] == seen["requests"]:
            break
    return seen


def _problems(
    load: Load, before: dict[str, Any], after: dict[str, Any], connections: int
) -> Iterator[str]:
    if not load.requests:
        yield "nothing was answered"
    if load.errors:
        yield f"errors: {load.errors}"
    if after["mistakes"] != before["mistakes"]:
        yield f"the provider found mistakes: {after['mistakes']}"
    requests = after["requests"] - before["requests"]
    # What was under way when the client stopped reached the provider, but is not counted.
    if not load.requests <= requests <= load.requests + connections:
        yield f"{requests} requests reached the provider, not {load.requests}"
