"""Our own clients, each run in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from bench.contestants import Request
from bench.load import _calls, _streams
from bench.load._model import Load

_ROOT: Final = Path(__file__).resolve().parent.parent.parent


def closed_loop(request: Request, connections: int, seconds: float) -> Load:
    """What `wrk` does, for a third more CPU: where wrk is not installed."""
    (found,) = _lines("calls", _calls.to_json(_task(request, connections, seconds)))
    return Load(
        tool="python",
        requests=found["requests"],
        seconds=found["seconds"],
        errors=found["errors"],
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        max_ms=found["max_ms"],
        cpu_seconds=found["cpu"],
    )


def open_loop(
    request: Request, rate: float, seconds: float, most: int, progress: Callable[[Any], None]
) -> dict[str, Any]:
    """A constant rate over at most so many connections; `progress` sees a line every 10 s."""
    task = _task(request, most, seconds, rate)
    found: dict[str, Any] = {}
    for found in _lines("calls", _calls.to_json(task)):
        if "at" in found:
            progress(found)
    return found


def streams(
    request: Request, streams_at_once: int, seconds: float, events: int, text: str, mark: str
) -> dict[str, Any]:
    """So many streams at once, for so many seconds and until the last has ended."""
    task = _streams.StreamTask(_task(request, streams_at_once, seconds), events, text, mark)
    (found,) = _lines("streams", _streams.to_json(task))
    return dict(found)


def _task(
    request: Request, connections: int, seconds: float, rate: float | None = None
) -> _calls.Task:
    body, headers = request.body.decode(), dict(request.headers)
    return _calls.Task(request.url, body, headers, connections, seconds, rate)


def _lines(client: str, given: str) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "bench.load", client]
    process = subprocess.Popen(
        command,
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(given)
            process.stdin.close()
            yield from map(json.loads, process.stdout)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise RuntimeError(f"the client {client!r} ended with {process.returncode}")
