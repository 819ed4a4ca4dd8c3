"""Starts the provider and every system that is asked for, and finds out who can compete."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from bench.contestants import (
    CONTESTANTS,
    PEERS,
    SYSTEMS,
    Contestant,
    Place,
    Request,
    System,
    Unavailable,
    Upstream,
)
from bench.processes import cpu_by_role, signal_trees

Say = Callable[[str], None]
_IDLE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contestant whose system runs, and that does the job."""

    contestant: Contestant
    system: System
    request: Request

    @property
    def name(self) -> str:
        return self.contestant.name


@dataclass(slots=True)
class Arena:
    """What runs. `missing` says why a contestant does not take part.

    Attributes:
        idle_percent: of one core, that each system takes when nobody asks it.
    """

    upstream: Upstream
    systems: Mapping[str, System]
    entrants: list[Entrant] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    idle_percent: dict[str, float] = field(default_factory=dict)

    def upstream_stats(self) -> dict[str, Any]:
        """What has reached the provider."""
        found = httpx.get(f"http://127.0.0.1:{self.upstream.port}/stats", timeout=10).json()
        return dict(found)

    @contextmanager
    def alone(self, entrant: Entrant) -> Iterator[None]:
        """The peers' processes stand still while another contestant has the machine.

        Ours run on, because our supervisor kills a worker that does not answer its probes. What
        they take while nobody asks them is in `idle_percent`.
        """
        name = entrant.contestant.system
        if name in PEERS:
            signal_trees(_roots(self.systems[name]), signal.SIGCONT)
        try:
            yield
        finally:
            if name in PEERS:
                signal_trees(_roots(self.systems[name]), signal.SIGSTOP)


@contextmanager
def arena(names: Iterable[str], directory: Path, say: Say) -> Iterator[Arena]:
    """Everything that the named contestants need, for as long as the block lasts."""
    wanted = [CONTESTANTS[name] for name in names]
    with ExitStack() as stack:
        upstream = stack.enter_context(provider())
        systems: dict[str, System] = {}
        made = Arena(upstream, systems)
        reasons: dict[str, str] = {}
        for name in dict.fromkeys(each.system for each in wanted):
            say(f"starting {name} …")
            place = Place(upstream, directory / name)
            place.directory.mkdir(parents=True)
            try:
                systems[name] = stack.enter_context(SYSTEMS[name](place))
            except Unavailable as error:
                reasons[name] = str(error)
        for each in wanted:
            _admit(made, each, reasons)
        made.idle_percent = _idle(systems)
        for name in systems.keys() & PEERS:
            signal_trees(_roots(systems[name]), signal.SIGSTOP)
            stack.callback(signal_trees, _roots(systems[name]), signal.SIGCONT)
        yield made


def _admit(made: Arena, contestant: Contestant, reasons: Mapping[str, str]) -> None:
    """Let a contestant in if its system runs and the provider finds no fault with one call."""
    system = made.systems.get(contestant.system)
    if system is None:
        made.missing[contestant.name] = reasons[contestant.system]
        return
    try:
        request = contestant.request(system)
        contestant.check(system, request)
        _call(request)  # a peer's first call may be tried twice while it still imports
        _one_call(made, request)
    except (Unavailable, httpx.HTTPError) as error:
        made.missing[contestant.name] = str(error)
        return
    made.entrants.append(Entrant(contestant, system, request))


def _one_call(made: Arena, request: Request) -> None:
    before = made.upstream_stats()
    answer = _call(request)
    after = made.upstream_stats()
    if answer.status_code != 200:
        mistakes = {k: v for k, v in after["mistakes"].items() if before["mistakes"].get(k) != v}
        raise Unavailable(f"it answered {answer.status_code}: {answer.text[:200]} {mistakes or ''}")
    if (seen := after["requests"] - before["requests"]) != 1:
        raise Unavailable(f"the provider saw {seen} calls, not one")


def _call(request: Request) -> httpx.Response:
    headers = {"content-type": "application/json", **request.headers}
    return httpx.post(request.url, content=request.body, headers=headers, timeout=60)


def _roots(system: System) -> list[int]:
    return [pid for pids in system.roles.values() for pid in pids]


def _idle(systems: Mapping[str, System]) -> dict[str, float]:
    before = {name: sum(cpu_by_role(system.roles).values()) for name, system in systems.items()}
    time.sleep(_IDLE_SECONDS)
    return {
        name: round((sum(cpu_by_role(system.roles).values()) - before[name]) / _IDLE_SECONDS * 100)
        for name, system in systems.items()
    }


@contextmanager
def provider() -> Iterator[Upstream]:
    """The provider, in a process of its own."""
    command = [sys.executable, "-m", "bench.upstream"]
    root = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(
        command,
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        yield Upstream(int(process.stdout.readline()), process.pid)
    finally:
        with contextlib.suppress(OSError):
            process.communicate(timeout=5)  # the end of its input ends it
        process.kill()
