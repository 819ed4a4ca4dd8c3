"""From rounds to what is kept and shown: medians with their spread, goals, tables. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.rounds import Round

CARRIERS: Final = ("envoy", "server")
"""The roles that carry requests; what the others use is told apart."""
STRANGERS: Final = 0.3
"""Cores that are not ours. (The kernel's own work on the loopback's packets takes up to 0.2.)"""
UPSTREAM: Final = 0.85
_HEADS: Final = (
    "", "req/s", "p50 ms", "p99 ms", "Envoy µs", "server µs", "other µs", "RSS MB", "× bare",
)  # fmt: skip

Result = Mapping[str, Any]


def summary(rounds: Sequence[Round]) -> dict[str, Any]:
    """One contestant's medians, and the lowest and highest of its rounds."""
    values: dict[str, Callable[[Round], float]] = {
        "rps": lambda one: one.rps,
        "p50_ms": lambda one: one.load.p50_ms,
        "p99_ms": lambda one: one.load.p99_ms,
        "rss_mb": lambda one: sum(one.rss_mb.values()),
        "upstream_share": lambda one: one.upstream_share,
        "strangers": lambda one: one.strangers,
    }
    roles = sorted(rounds[0].cpu_us)
    for role in roles:
        values[f"cpu_us.{role}"] = lambda one, role=role: one.cpu_us[role]  # type: ignore[misc]
    found = {name: _median([value(one) for one in rounds]) for name, value in values.items()}
    spread = {name: _range([value(one) for one in rounds]) for name, value in values.items()}
    return {
        **{name: value for name, value in found.items() if "." not in name},
        "cpu_us": {role: found.get(f"cpu_us.{role}", 0.0) for role in CARRIERS},
        "other_cpu_us": {role: found[f"cpu_us.{role}"] for role in roles if role not in CARRIERS},
        "harness_cpu_us": {
            role: _median([one.harness_cpu_us[role] for one in rounds])
            for role in rounds[0].harness_cpu_us
        },
        "rss_mb_by_role": {
            role: _median([one.rss_mb[role] for one in rounds]) for role in rounds[0].rss_mb
        },
        "spread": spread,
        "requests": sum(one.load.requests for one in rounds),
        "load": rounds[0].load.tool,
        "problems": sorted({problem for one in rounds for problem in one.problems}),
    }


def against(rounds: Sequence[Round], bare: Sequence[Round]) -> dict[str, Any]:
    """How many times bare Envoy's CPU, round by round: what slows a round slows its pair, too."""
    pairs = zip(rounds, bare, strict=True)
    ratios = [_carried(one) / _carried(other) for one, other in pairs if _carried(other)]
    return {"x_bare": _median(ratios), "x_bare_range": _range(ratios)} if ratios else {}


def _carried(one: Round) -> float:
    return sum(micros for role, micros in one.cpu_us.items() if role in CARRIERS)


def _median(values: Sequence[float]) -> float:
    return _rounded(statistics.median(values))


def _range(values: Sequence[float]) -> list[float]:
    return [_rounded(min(values)), _rounded(max(values))]


def _rounded(value: float) -> float:
    """Three digits that mean something, and no more after the point."""
    return float(round(value)) if value >= 1000 else float(f"{value:.3g}")


@dataclass(frozen=True, slots=True)
class Goal:
    """`value` and `limit` are in the unit that `what` names; without a limit, it is only shown."""

    what: str
    value: float
    limit: float | None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def to_json(self) -> dict[str, Any]:
        sign = "≥" if self.at_least else "≤"
        goal = None if self.limit is None else f"{sign} {self.limit}"
        return {"what": self.what, "value": round(self.value, 2), "goal": goal, "met": self.met}


def goals(found: Mapping[str, Result], streams: Mapping[str, Result]) -> list[Goal]:
    """The goals that this run can say something about."""
    return list(_goals(found, streams))


def _goals(found: Mapping[str, Result], streams: Mapping[str, Result]) -> Iterator[Goal]:
    for name, limit in (("native", 1.3), ("native-v1", 1.6), ("request", 3.0)):
        if "x_bare" in found.get(name, {}):
            what = f"{name}: CPU per request against bare Envoy"
            yield Goal(what, found[name]["x_bare"], limit)
    if "request" in found:
        own = found["request"]["cpu_us"]["server"]
        yield Goal("request: ext_proc's CPU per request, µs", own, 60)
        if "request-grpcio" in found:
            grpcio = found["request-grpcio"]["cpu_us"]["server"]
            yield Goal("request: ext_proc's CPU, grpcio against ours", grpcio / own, 8, True)
    yield from _against_peers(found)
    for shape in ("burst", "paced"):
        if each := streams.get(f"duplex {shape}"):
            what = f"duplex: ext_proc's CPU per event, µs ({shape})"
            yield Goal(what, each["cpu_us_per_event"]["server"], 15)


def _against_peers(found: Mapping[str, Result]) -> Iterator[Goal]:
    """The peers' job is `native`; `request` does more, so no goal compares it with them."""
    for peer, limit in (("litellm", 60.0), ("portkey", 3.0)):
        if "native" in found and peer in found:
            ratio = found["native"]["rps"] / found[peer]["rps"]
            yield Goal(f"native: req/s against {peer}", ratio, limit, True)
        if "request" in found and peer in found:
            ratio = found["request"]["rps"] / found[peer]["rps"]
            yield Goal(f"request: req/s against {peer}, with a template on top", ratio, None)


def table(found: Mapping[str, Result], missing: Mapping[str, str]) -> str:
    """Markdown, a row for each contestant; medians, and the spread of req/s and CPU."""
    rows = [_row(name, each) for name, each in found.items()]
    return "\n".join(
        [_line(_HEADS), _line(["---", *["---:"] * (len(_HEADS) - 1)]), *rows, *_absent(missing)]
    )


def _row(name: str, each: Result) -> str:
    low, high = each["spread"]["rps"]
    cells = [
        name + (" (invalid)" if each["problems"] else ""),
        f"{each['rps']:,.0f} ({low:,.0f}–{high:,.0f})",
        f"{each['p50_ms']:.2f}",
        f"{each['p99_ms']:.2f}",
        *(_cpu_cell(each, role) for role in CARRIERS),
        f"{sum(each['other_cpu_us'].values()):.0f}" if each["other_cpu_us"] else "–",
        f"{each['rss_mb']:.0f}",
        _times_cell(each),
    ]
    return _line(cells)


def _times_cell(each: Result) -> str:
    if "x_bare" not in each:
        return "–"
    low, high = each["x_bare_range"]
    return f"{each['x_bare']:.3g} ({low:.3g}–{high:.3g})"


def _cpu_cell(each: Result, role: str) -> str:
    if not each["cpu_us"][role]:
        return "–"
    low, high = each["spread"][f"cpu_us.{role}"]
    return f"{each['cpu_us'][role]:,.0f} ({low:,.0f}–{high:,.0f})"


def _absent(missing: Mapping[str, str]) -> list[str]:
    return ["", *(f"Not measured: {name}: {why}" for name, why in missing.items())]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def idle(percent: Mapping[str, float], still: Collection[str]) -> str:
    """What ran beside every contestant; the systems in `still` were stopped meanwhile."""
    parts = [f"{name} {each:g} %" for name, each in percent.items() if name not in still]
    return f"Idle beside whoever is measured, CPU of one core: {', '.join(parts) or 'nothing'}."


def warnings(found: Mapping[str, Result]) -> Iterator[str]:
    """What makes numbers worse than the contestants are."""
    busy = [name for name, each in found.items() if each["strangers"] > STRANGERS]
    if busy:
        most = max(each["strangers"] for each in found.values())
        yield f"other processes used up to {most:.1f} cores meanwhile ({', '.join(busy)})"
    slow = [name for name, each in found.items() if each["upstream_share"] > UPSTREAM]
    if slow:
        yield f"the provider was nearly a core busy, and may be the limit ({', '.join(slow)})"


def stream_table(streams: Mapping[str, Result]) -> str:
    """Markdown, a row for each way of streaming."""
    heads = ("streams", "events/s", "first event p50 / p99 ms", "Envoy µs", "server µs", "RSS MB")
    rows = [
        [
            f"{name} ({each['streams_at_once']} at once)"
            + (" (invalid)" if each["errors"] else ""),
            f"{each['events_per_second']:,.0f}",
            f"{each['first_p50_ms']:.1f} / {each['first_p99_ms']:.1f}",
            f"{each['cpu_us_per_event'].get('envoy', 0):.1f}",
            f"{each['cpu_us_per_event'].get('server', 0):.1f}",
            f"{each['rss_mb']:.0f}",
        ]
        for name, each in streams.items()
    ]
    return "\n".join([_line(heads), _line(["---", *["---:"] * 5]), *map(_line, rows)])


def goal_table(found: Sequence[Goal]) -> str:
    """Markdown, a row for each goal."""
    met = {True: "yes", False: "**no**", None: "–"}
    lines = [
        _line([row["what"], f"{row['value']:g}", row["goal"] or "–", met[row["met"]]])
        for row in (one.to_json() for one in found)
    ]
    return "\n".join([_line(["goal", "measured", "wanted", "met"]), "|---|---:|---:|---|", *lines])
