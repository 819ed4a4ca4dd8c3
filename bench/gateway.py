"""How fast is the gateway, beside bare Envoy and its peers, at the same job on the same machine?

The job: a chat completion of 1 KB comes in, the provider's key goes on it, the answer goes back; in
the lane `request` a template writes the messages, too. Prints tables, and keeps everything, with
each contestant's configuration, as `bench/results/gateway-DATE.json`.

    python -m bench.gateway [--only bare,request] [--rounds 5] [--seconds 3] [--connections 32]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import psutil

from bench import report, streaming
from bench.arena import Arena, arena
from bench.contestants import CONTESTANTS, OURS, PEERS
from bench.load import Tool, closed_loop, find_wrk, wrk
from bench.rounds import interleaved

RESULTS: Final = Path(__file__).parent / "results"
_STREAMERS: Final = ("bare", "request", "duplex", "duplex-grpcio")
_NO_WRK: Final = "wrk is not installed. Run: apt-get install wrk (or give --load python)"


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options().parse_args(arguments)
    if chosen.smoke:
        chosen.rounds, chosen.seconds, chosen.only = 1, 1.0, chosen.only or ",".join(OURS)
    tool = _tool(chosen.load, smoke=chosen.smoke)
    names = chosen.only.split(",") if chosen.only else list(CONTESTANTS)
    if unknown := set(names) - set(CONTESTANTS):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(CONTESTANTS)}")
    with (
        tempfile.TemporaryDirectory(prefix="naru-bench-") as directory,
        arena(names, Path(directory), _say) as made,
    ):
        result = run(made, tool, chosen)
    show(result)
    keep(result, chosen.out)
    return 1 if invalid(result) else 0


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", help="contestants, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--load", choices=("wrk", "python"), help="the client; wrk if installed")
    parser.add_argument("--no-streams", action="store_true", help="leave out the streamed answers")
    parser.add_argument("--smoke", action="store_true", help="one second each, only our own")
    parser.add_argument("--out", type=Path, help="where to keep the result")
    return parser


def _tool(asked: str | None, *, smoke: bool) -> Tool:
    if asked == "python" or (asked is None and smoke and not find_wrk()):
        return closed_loop
    if not find_wrk():
        sys.exit(_NO_WRK)
    return wrk


def run(made: Arena, tool: Tool, chosen: argparse.Namespace) -> dict[str, Any]:
    """All rounds, then the streams."""
    rounds = interleaved(made, tool, chosen.rounds, chosen.seconds, chosen.connections, _say)
    found = {name: report.summary(each) for name, each in rounds.items()}
    for name in found if "bare" in rounds else ():
        found[name] |= report.against(rounds[name], rounds["bare"])
    streams = {} if chosen.no_streams else _streams(made, chosen)
    return {
        "machine": machine(),
        "date": date.today().isoformat(),
        "rounds": chosen.rounds,
        "seconds": chosen.seconds,
        "connections": chosen.connections,
        "contestants": found,
        "missing": made.missing,
        "streams": streams,
        "goals": [goal.to_json() for goal in report.goals(found, streams)],
        "unasked": made.upstream_stats()["others"],
        "idle_cpu_percent": made.idle_percent,
        "systems": {name: dict(system.settings) for name, system in made.systems.items()},
    }


def _streams(made: Arena, chosen: argparse.Namespace) -> dict[str, Any]:
    found = {}
    for name, shape in streaming.SHAPES.items():
        if chosen.smoke and name == "slow":
            continue
        for entrant in made.entrants:
            if entrant.name not in _STREAMERS:
                continue
            _say(f"streams: {entrant.name} {name} …")
            seconds = 0 if name == "slow" else chosen.seconds  # each slow stream once
            found[f"{entrant.name} {name}"] = streaming.measure(made, entrant, shape, seconds)
    return found


def machine() -> str:
    model = platform.processor() or platform.machine()
    memory = round(psutil.virtual_memory().total / 2**30)
    return f"{model}, {psutil.cpu_count()} cores, {memory} GB, Linux {platform.release()}"


def show(result: dict[str, Any]) -> None:
    """The tables, as Markdown."""
    print(f"\n{result['machine']}; {result['connections']} connections; median (lowest–highest)\n")
    print(report.table(result["contestants"], result["missing"]))
    print(f"\n{report.idle(result['idle_cpu_percent'], PEERS)}")
    if result["streams"]:
        print(f"\n{report.stream_table(result['streams'])}")
    print(f"\n{report.goal_table(report.goals(result['contestants'], result['streams']))}")
    for warning in report.warnings(result["contestants"]):
        print(f"\nWARNING: {warning}")
    for problem in invalid(result):
        print(f"INVALID: {problem}")


def invalid(result: dict[str, Any]) -> list[str]:
    """What makes the run worth nothing."""
    calls = {name: each["problems"] for name, each in result["contestants"].items()}
    streams = {name: each["errors"] for name, each in result["streams"].items()}
    return [f"{name}: {wrong}" for name, wrong in (calls | streams).items() if wrong]


def keep(result: dict[str, Any], path: Path | None) -> None:
    path = path or RESULTS / f"gateway-{result['date']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    print(f"\n{path}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
