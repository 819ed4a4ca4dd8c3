"""Reflector → compiler → hub: every new snapshot is compiled, and served if that succeeds.

Compiling runs in a thread, so that streams and requests go on meanwhile; the newest snapshot wins,
those in between are skipped. What cannot be compiled leaves the last good target live; the outcome
says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from control_plane._verdicts import Verdicts
from control_plane.compile import Compiled, Hold
from control_plane.resources import Key, Problem, Resource, check_graph
from control_plane.store import Snapshot

log = logging.getLogger("naru.compile")

_OURS: Final = Problem(
    "$", "the compiler failed", "This is a fault of the product: see the control plane's log"
)


_TURNS: Final = 3
"""Of the event loop: a refusal that has arrived meanwhile is known by then."""


class Compiles(Protocol):
    """`control_plane.compile.Compiler`: keeps state, so one thread at a time."""

    def compile(
        self, revision: int, resources: Mapping[Key, Resource], holds: Mapping[Key, Hold]
    ) -> Compiled: ...


class SetsAside(Protocol):
    """`control_plane.isolate.Isolation`; its `edition` tells whether `holds` may have changed."""

    @property
    def edition(self) -> int: ...

    def holds(
        self, snapshot: Snapshot, resources: Mapping[Key, Resource] | None = None
    ) -> Mapping[Key, Hold]: ...

    def found(self, compiled: Compiled, good: Compiled | None, snapshot: Snapshot) -> bool: ...


class Target(Protocol):
    """Where a compiled revision goes: `control_plane.xds.Hub`."""

    @property
    def last_good(self) -> Compiled | None: ...

    def set_target(self, compiled: Compiled) -> None: ...


class CompileFailed(Exception):
    """A snapshot cannot be compiled; `problems` says why."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the newest snapshot that was tried; no problems: it is the target."""

    revision: int
    problems: tuple[Problem, ...] = ()


class CompileLoop:
    """Keeps the hub's target at the newest snapshot that compiles.

    Args:
        make_compiler: called twice: what is live and what is only tried do not share a cache.
        observe: told the seconds of every compilation, and whether it succeeded.
        isolation: says what is set aside; without it, nothing is.
    """

    def __init__(
        self,
        make_compiler: Callable[[], Compiles],
        target: Target,
        observe: Callable[[float, bool], None] = lambda seconds, good: None,
        isolation: SetsAside | None = None,
    ) -> None:
        self._live = _Compiling(make_compiler(), observe)
        self._trial = _Compiling(make_compiler(), observe)
        self._target = target
        self._isolation = isolation
        self._snapshot: Snapshot | None = None
        self._turn = asyncio.Lock()
        self._changed = asyncio.Condition()
        self.outcome: Outcome | None = None
        """Of the newest snapshot; None before the first."""
        self.live: Compiled | None = None
        """The last that was good."""
        self.verdicts = Verdicts()

    async def run(self, snapshots: AsyncIterator[Snapshot]) -> None:
        """Follow the snapshots until cancelled."""
        async for snapshot in snapshots:
            self._snapshot = snapshot
            await self.again()

    async def again(self) -> None:
        """Compile the newest snapshot with what is set aside now."""
        async with self._turn:
            if self._snapshot is not None:
                await self._take(self._snapshot)

    async def wait_for(self, revision: int, timeout: float) -> Outcome | None:
        """The outcome of `revision` or a later one; None when there is none in time."""
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(
                    lambda: self.outcome is not None and self.outcome.revision >= revision
                )
        except TimeoutError:
            return None
        return self.outcome

    async def changed(self, seen: Outcome | None, timeout: float) -> None:
        """Wait until there is another outcome than `seen`, or the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: self.outcome is not seen)

    async def preview(self, snapshot: Snapshot, resources: Mapping[Key, Resource]) -> Compiled:
        """What `resources` would compile to in the place of the snapshot's, without serving it.

        Raises:
            CompileFailed: some of them cannot be compiled that are good as they are stored.
        """
        holds = self._holds(snapshot, resources)
        compiled = await self._trial.compile(snapshot.revision, resources, holds)
        known = self.live.aside if self.live is not None else {}
        new = [(key, why) for key, why in compiled.aside.items() if known.get(key) != why]
        if new:
            raise CompileFailed(tuple(Problem(str(k), w.reason, "Correct it") for k, w in new))
        return compiled

    def _holds(
        self, snapshot: Snapshot, resources: Mapping[Key, Resource] | None = None
    ) -> Mapping[Key, Hold]:
        return self._isolation.holds(snapshot, resources) if self._isolation is not None else {}

    async def _take(self, snapshot: Snapshot) -> None:
        try:
            compiled = await self._compiled(snapshot)
        except CompileFailed as error:
            log.error("revision %d cannot be compiled: %s", snapshot.revision, error)
            outcome = Outcome(snapshot.revision, error.problems)
        else:
            self.live, outcome = compiled, Outcome(snapshot.revision)
            self.verdicts.note(compiled, snapshot)
            self._target.set_target(compiled)
        async with self._changed:
            self.outcome = outcome
            self._changed.notify_all()

    async def _compiled(self, snapshot: Snapshot) -> Compiled:
        """With what is set aside when it is done, and with the last good versions of that and of
        what cannot be compiled, as far as there are any."""
        work, isolation = (snapshot.revision, snapshot.resources), self._isolation
        while True:
            edition = isolation.edition if isolation is not None else 0
            compiled = await self._live.compile(*work, self._holds(snapshot))
            if isolation is None:
                return compiled
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            good = self._target.last_good or self.live
            news = isolation.found(compiled, good, snapshot)
            if not news and isolation.edition == edition:
                return compiled


class _Compiling:
    """One compiler, used by one thread at a time."""

    def __init__(self, compiler: Compiles, observe: Callable[[float, bool], None]) -> None:
        self._compiler = compiler
        self._observe = observe
        self._turn = asyncio.Lock()

    async def compile(
        self, revision: int, resources: Mapping[Key, Resource], holds: Mapping[Key, Hold]
    ) -> Compiled:
        async with self._turn:
            start, good = time.perf_counter(), False
            try:
                work = (revision, resources, holds)
                compiled = await asyncio.to_thread(self._compiler.compile, *work)
                good = True
            except Exception as error:
                raise CompileFailed(_problems_of(error, resources)) from error
            finally:
                self._observe(time.perf_counter() - start, good)
        return compiled


def _problems_of(error: Exception, resources: Mapping[Key, Resource]) -> tuple[Problem, ...]:
    """Why it failed. A resource that cannot be read is missing, which others then stumble over."""
    problems: tuple[Problem, ...] = getattr(error, "problems", ()) or check_graph(resources)
    if not problems:
        log.error("the compiler failed with %s", type(error).__name__, exc_info=error)
    return problems or (_OURS,)
