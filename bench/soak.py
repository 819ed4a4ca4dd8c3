"""Does the gateway hold its peak rate, and does its memory stay flat?

First the *peak*: a constant rate, open loop, with the load generator and the provider on the same
cores; latencies count from when a request was due. Then as many requests as are left, as fast as
`wrk` gets them answered. The lane is `request`: template and credential. Memory is read every ten
seconds, of every role; its slope is told per million requests.

    python -m bench.soak [--rate 3100] [--minutes 10] [--requests 5000000]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

from bench import plot
from bench.arena import Arena, Entrant, arena
from bench.contestants import CONTESTANTS
from bench.gateway import RESULTS, machine
from bench.load import closed_loop, find_wrk, open_loop, wrk
from bench.processes import cpu_by_role, rss_by_role

P99_MS: Final = 25.0
MB_PER_MILLION: Final = 1.0
"""What still counts as flat."""
_MOST_CONNECTIONS: Final = 512
_CONNECTIONS: Final = 32
_SLICE: Final = 10.0


class Diary:
    """Memory, time and requests so far, a line every ten seconds."""

    def __init__(self, made: Arena, entrant: Entrant) -> None:
        self.samples: list[dict[str, Any]] = []
        self._made, self._entrant = made, entrant
        self._began = time.monotonic()
        self._first = int(made.upstream_stats()["requests"])

    @property
    def requests(self) -> int:
        return int(self._made.upstream_stats()["requests"]) - self._first

    def note(self, phase: str, seen: dict[str, Any]) -> None:
        rss = {k: round(v, 1) for k, v in rss_by_role(self._entrant.system.roles).items()}
        at, count = round(time.monotonic() - self._began, 1), self.requests
        self.samples.append({"phase": phase, "at": at, "requests": count, "rss_mb": rss, **seen})
        memory = " ".join(f"{role} {size:.0f}" for role, size in rss.items())
        heard = " ".join(f"{name}={value}" for name, value in seen.items())
        print(f"{phase:<6}{at:>7.0f} s {count:>9,} requests  {heard}  MB: {memory}", flush=True)
        self._shorten_log()

    def _shorten_log(self) -> None:
        """Five million lines of access log are a gigabyte that nobody reads."""
        gateway = getattr(self._entrant.system, "gateway", None)
        if gateway is not None:
            os.truncate(gateway.log, 0)


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options().parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="naru-soak-") as directory,
        arena([chosen.contestant], Path(directory), print) as made,
    ):
        if not made.entrants:
            sys.exit(f"{chosen.contestant} cannot run: {made.missing[chosen.contestant]}")
        result = run(made, chosen)
    return show(result, keep(result, chosen.out))


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--contestant", default="request", choices=list(CONTESTANTS))
    parser.add_argument("--rate", type=float, default=3100, help="requests per second of the peak")
    parser.add_argument("--minutes", type=float, default=10, help="of the peak")
    parser.add_argument("--requests", type=int, default=5_000_000, help="in all")
    parser.add_argument("--out", type=Path, help="where to keep the result")
    return parser


def run(made: Arena, chosen: argparse.Namespace) -> dict[str, Any]:
    """The peak, then the rest."""
    (entrant,) = made.entrants
    diary = Diary(made, entrant)
    diary.note("start", {})
    peak = _peak(made, entrant, diary, chosen) if chosen.minutes else {}
    rest = _rest(entrant, diary, chosen.requests)
    return {
        "machine": machine(),
        "date": date.today().isoformat(),
        "contestant": chosen.contestant,
        "peak": peak,
        "rest": rest,
        "requests": diary.requests,
        "mistakes": made.upstream_stats()["mistakes"],
        "mb_per_million": slopes(diary.samples),
        "samples": diary.samples,
    }


def _peak(
    made: Arena, entrant: Entrant, diary: Diary, chosen: argparse.Namespace
) -> dict[str, Any]:
    roles = {**entrant.system.roles, "upstream": [made.upstream.pid]}
    before, began = cpu_by_role(roles), time.monotonic()

    def progress(seen: dict[str, Any]) -> None:
        shown = ("p50_ms", "p99_ms", "max_ms", "errors")
        diary.note("peak", {name: seen[name] for name in shown})

    seconds = chosen.minutes * 60
    found = open_loop(entrant.request, chosen.rate, seconds, _MOST_CONNECTIONS, progress)
    lasted, after = time.monotonic() - began, cpu_by_role(roles)
    cores = {role: round((after[role] - before[role]) / lasted, 3) for role in roles}
    cores["load"] = round(found["cpu"] / lasted, 3)
    return {"rate": chosen.rate, **found, "cores": cores}


def _rest(entrant: Entrant, diary: Diary, requests: int) -> dict[str, Any]:
    tool = wrk if find_wrk() else closed_loop
    counts, errors = 0, dict[str, int]()
    while diary.requests < requests:
        load = tool(entrant.request, _CONNECTIONS, _SLICE)
        counts += load.requests
        for kind, count in load.errors.items():
            errors[kind] = errors.get(kind, 0) + count
        diary.note("rest", {"rps": round(load.requests / load.seconds), "p99_ms": load.p99_ms})
        if not load.requests:
            errors["nothing was answered"] = 1
            break
    return {"requests": counts, "errors": errors}


def slopes(samples: Sequence[dict[str, Any]]) -> dict[str, float]:
    """MB per million requests by role, by least squares, after the first tenth (caches fill)."""
    late = [one for one in samples if one["requests"] >= samples[-1]["requests"] / 10]
    counts = [one["requests"] / 1e6 for one in late]
    if len(set(counts)) < 2:
        return {}
    return {
        role: round(_slope(counts, [one["rss_mb"][role] for one in late]), 3)
        for role in samples[0]["rss_mb"]
    }


def _slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - x_mean) ** 2 for x in xs)


def show(result: dict[str, Any], path: Path) -> int:
    """The findings; 1 if a goal is missed."""
    goals = verdicts(result)
    print(f"\n{result['machine']}; {result['contestant']}; {result['requests']:,} requests")
    if peak := result["peak"]:
        shown = ("p50_ms", "p99_ms", "p999_ms", "max_ms", "errors", "cores")
        print(f"peak at {peak['rate']:g} req/s:", {name: peak[name] for name in shown})
    print("MB per million requests:", result["mb_per_million"])
    for what, met in goals.items():
        print(f"{'yes' if met else 'NO ':<4}{what}")
    print(path)
    return int(not all(goals.values()))


def verdicts(result: dict[str, Any]) -> dict[str, bool]:
    """Each goal, and whether it is met."""
    peak, rest = result["peak"], result["rest"]
    errors = [peak.get("errors"), rest["errors"], result["mistakes"]]
    found = {"no errors": not any(errors)}
    if peak:
        sent = peak["requests"] >= 0.999 * peak["rate"] * peak["seconds"]
        found[f"{peak['rate']:g} req/s held"] = sent
        found[f"p99 below {P99_MS:g} ms"] = peak["p99_ms"] < P99_MS
    for role, slope in result["mb_per_million"].items():
        found[f"{role}: memory flat ({slope:+g} MB per million)"] = slope < MB_PER_MILLION
    return found


def keep(result: dict[str, Any], path: Path | None) -> Path:
    path = path or RESULTS / f"soak-{result['date']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    path.with_suffix(".svg").write_text(plot.memory(result["samples"]))
    return path


if __name__ == "__main__":
    sys.exit(main())
