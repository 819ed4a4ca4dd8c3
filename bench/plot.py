"""Plots as SVG, with nothing but strings: bars for README, lines for memory. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from bench.contestants import OURS

_FONT: Final = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"
_INK: Final = "#24292f"
_FAINT: Final = "#57606a"
_RULE: Final = "#d8dee4"
_COLOURS: Final = {"envoy": "#0969da", "server": "#e16f24"}
_LINES: Final = ("#1a7f37", "#8250df", "#bf3989", "#57606a")
_WIDTH: Final = 760
_LEFT: Final = 130  # where the bars begin
_BAR_END: Final = 560
_ROW: Final = 30
_TOP: Final = 78


def bars(result: Mapping[str, Any]) -> str:
    """CPU per request (Envoy and server, stacked) and req/s of each contestant, the best first.

    A bar far longer than the gateway's own is cut, with a gap that says so: LiteLLM takes hundreds
    of times what bare Envoy does, and on one scale nothing else could be seen.
    """
    found = sorted(result["contestants"].items(), key=lambda item: _total(item[1]))
    own = max((_total(each) for name, each in found if name in OURS), default=0.0)
    longest = max((_total(each) for _, each in found if _total(each) <= 2 * own), default=1.0)
    scale = (_BAR_END - _LEFT - 50) / longest
    rows = [
        part
        for number, (name, each) in enumerate(found)
        for part in _bar_row(name, each, _TOP + number * _ROW, scale)
    ]
    height = _TOP + len(found) * _ROW + 34
    what = f"{result['connections']} connections, 1 KB chat body, {result['machine']}"
    head = [
        _text(16, 26, "CPU per request, and requests per second", size=16, weight=600),
        *_legend(50),
        _text(_WIDTH - 16, 66, "req/s", anchor="end", fill=_FAINT, size=12),
        _text(16, height - 12, what, fill=_FAINT, size=11),
    ]
    return _svg(height, [*head, *rows])


def _total(each: Mapping[str, Any]) -> float:
    return float(sum(each["cpu_us"].values()))


def _legend(y: int) -> list[str]:
    parts, x = [], 16
    for label, colour in (
        ("Envoy", _COLOURS["envoy"]),
        ("ext_proc, or the whole peer", _COLOURS["server"]),
    ):
        parts.append(f"<rect x='{x}' y='{y - 2}' width='10' height='10' rx='2' fill='{colour}'/>")
        parts.append(_text(x + 16, y + 7, label, fill=_FAINT, size=12))
        x += 30 + 7 * len(label)
    return parts


def _bar_row(name: str, each: Mapping[str, Any], y: int, scale: float) -> list[str]:
    parts = [_text(_LEFT - 10, y + 14, name, anchor="end", size=13)]
    x = float(_LEFT)
    for role in ("envoy", "server"):
        wide = min(each["cpu_us"].get(role, 0.0) * scale, _BAR_END - x)
        if wide > 0:
            parts.append(
                f"<rect x='{x:.1f}' y='{y}' width='{wide:.1f}' height='19' "
                f"fill='{_COLOURS[role]}'/>"
            )
        x += max(0.0, wide)
    if _total(each) * scale > _BAR_END - _LEFT + 1:
        cut = _BAR_END - 26
        parts.append(f"<path d='M{cut} {y - 2}l6 23h5l-6 -23z' fill='white'/>")
    label = f"{_total(each):,.0f} µs"
    parts.append(_text(x + 7, y + 14, label, size=12, fill=_FAINT))
    parts.append(_text(_WIDTH - 16, y + 14, f"{each['rps']:,.0f}", anchor="end", size=13))
    return parts


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a value is on the plot of memory: requests to the right, MB upwards."""

    requests: int
    megabytes: float
    left: int = 56
    right: int = _WIDTH - 130
    top: int = 56
    bottom: int = 270

    def x(self, requests: float) -> float:
        return self.left + (self.right - self.left) * requests / self.requests

    def y(self, megabytes: float) -> float:
        return self.bottom - (self.bottom - self.top) * megabytes / self.megabytes


def memory(samples: Sequence[Mapping[str, Any]]) -> str:
    """RSS of every role over the requests served."""
    most = max(size for one in samples for size in one["rss_mb"].values())
    frame = Frame(max(1, samples[-1]["requests"]), _round_top(most))
    title = _text(16, 26, "Memory over requests served (RSS, MB)", size=16, weight=600)
    return _svg(304, [title, *_grid(frame), *_lines(samples, frame)])


def _round_top(most: float) -> float:
    """The least multiple of 40 that leaves some air, so that the grid's numbers are round."""
    return 40.0 * (int(most * 1.05 / 40) + 1)


def _grid(frame: Frame) -> Iterator[str]:
    for step in range(5):
        size, requests = frame.megabytes * step / 4, frame.requests * step / 4
        y = frame.y(size)
        yield f"<path d='M{frame.left} {y:.0f}H{frame.right}' stroke='{_RULE}'/>"
        yield _text(frame.left - 6, y + 4, f"{size:.0f}", anchor="end", size=11, fill=_FAINT)
        label = f"{requests / 1e6:.3g} M"
        x, below = frame.x(requests), frame.bottom + 18
        yield _text(x, below, label, anchor="middle", size=11, fill=_FAINT)


def _lines(samples: Sequence[Mapping[str, Any]], frame: Frame) -> Iterator[str]:
    ends = {role: frame.y(size) for role, size in samples[-1]["rss_mb"].items()}
    others = itertools.cycle(_LINES)
    for role, y in _spread_out(ends).items():
        colour = _COLOURS.get(role) or next(others)
        places = [(frame.x(one["requests"]), frame.y(one["rss_mb"][role])) for one in samples]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='2'/>"
        size = samples[-1]["rss_mb"][role]
        yield _text(frame.right + 8, y + 4, f"{role} {size:.0f}", size=12, fill=colour)


def _spread_out(places: Mapping[str, float]) -> dict[str, float]:
    """Labels at least 15 apart, each as near to its line's end as that allows."""
    found: dict[str, float] = {}
    lowest = float("-inf")
    for role, y in sorted(places.items(), key=lambda item: item[1]):
        lowest = max(y, lowest + 15)
        found[role] = lowest
    return found


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: int = 13,
    fill: str = _INK,
    anchor: str = "start",
    weight: int = 400,
) -> str:
    look = f"font-size='{size}' fill='{fill}' text-anchor='{anchor}' font-weight='{weight}'"
    return f"<text x='{x:.0f}' y='{y:.0f}' {look}>{escape(words)}</text>"


def _svg(height: int, parts: Sequence[str]) -> str:
    # A white ground, so that it can be read where the page is dark.
    ground = f"<rect width='{_WIDTH}' height='{height}' rx='8' fill='white'/>"
    body = "\n".join([ground, *parts])
    size = f"width='{_WIDTH}' height='{height}' viewBox='0 0 {_WIDTH} {height}'"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size} {_FONT}>\n{body}\n</svg>\n"
