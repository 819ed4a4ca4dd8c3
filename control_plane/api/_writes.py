"""How every write is done: try it, or commit it, and wait for the nodes if asked to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from control_plane._loop import CompileFailed
from control_plane.api import _aside, _changes, _status
from control_plane.api._answers import Json, revision_headers
from control_plane.api._changes import Result
from control_plane.api._difference import Difference, difference
from control_plane.api.errors import ApiError, NotCompiled, RejectedByNode
from control_plane.api.state import State
from control_plane.compile import Aside, Compiled
from control_plane.resources import Key, Problem, Resource
from control_plane.store import Build, Changes, Snapshot, Stored
from control_plane.xds import RevisionStatus


@dataclass(frozen=True, slots=True)
class Written:
    """A write that was done (or found to change nothing).

    Attributes:
        revision: of the whole configuration, with the write in it.
        keys: the resources, in the order asked.
        results: what became of each.
    """

    revision: int
    keys: tuple[Key, ...]
    results: tuple[Result, ...]
    snapshot: Snapshot
    changes: Changes

    def stored(self, key: Key) -> Stored:
        """A resource as this write left it."""
        resource, before = self.changes.puts.get(key), self.snapshot.stored.get(key)
        if resource is None:
            assert before is not None
            return before
        return Stored(resource, before.created_revision if before else self.revision, self.revision)


@dataclass(frozen=True, slots=True)
class Tried:
    """What a write would do."""

    results: tuple[Result, ...]
    difference: list[Difference]

    def answer(self, told: Callable[[list[Difference]], list[Difference]] = list) -> dict[str, Any]:
        """The answer; `told` leaves out what the caller must not learn of."""
        return {
            "dry_run": True,
            "results": [result._asdict() for result in self.results],
            "difference": [found._asdict() for found in told(self.difference)],
        }


async def commit(state: State, build: Build, keys: Sequence[tuple[Key, str]]) -> Written:
    """Write what `build` makes of the present state; `keys` are the resources with their kinds."""
    tried: list[tuple[Snapshot, Changes]] = []

    def recorded(snapshot: Snapshot) -> Changes:
        changes = build(snapshot)
        tried[:] = [(snapshot, changes)]
        return changes

    revision = await state.store.commit(recorded)
    snapshot, changes = tried[0]
    results = _changes.results(snapshot, changes, keys)
    for result in results:
        state.metrics.wrote(result.kind, result.change)
    asked = tuple(key for key, _ in keys)
    return Written(revision, asked, tuple(results), snapshot, changes)


async def attempt(state: State, build: Build, keys: Sequence[tuple[Key, str]]) -> Tried:
    """Do everything but write; raises what the write would, and NotCompiled."""
    snapshot = state.snapshot
    changes = build(snapshot)
    results = tuple(_changes.results(snapshot, changes, keys))
    if not changes:
        return Tried(results, [])
    try:
        before = await _compiled(state, snapshot)
        after = await state.compilation.preview(snapshot, _after(snapshot, changes))
    except CompileFailed as error:
        refused = NotCompiled("the result cannot be compiled", error.problems)
        refused.own = [key for key, _ in keys]
        raise refused from error
    return Tried(results, await asyncio.to_thread(difference, before, after))


async def settled(state: State, done: Written, wait: float) -> RevisionStatus:
    """How far a write has come within `wait` seconds.

    Raises:
        NotCompiled: some of it cannot be compiled; what was live before stays live.
        RejectedByNode: a node refuses some of it, with the node's words.
    """
    revision = done.revision
    deadline = time.monotonic() + wait
    await state.compilation.wait_for(revision, wait)
    problems = _status.compile_problems(state, revision)
    if problems:
        raise _not_compiled(problems, revision)
    while True:
        outcome = state.compilation.outcome
        carrier = state.compilation.verdicts.carrier(revision)
        status = await state.hub.wait(carrier, max(0.0, deadline - time.monotonic()))
        aside, left = _aside.since(revision, state, done.keys), deadline - time.monotonic()
        known = _aside.certain(aside) == aside
        if left <= 0 or (known and carrier == state.compilation.verdicts.carrier(revision)):
            break
        if not known:
            await state.compilation.changed(outcome, left)
    if aside and known:
        raise _set_aside(aside, revision)
    if status.state == "rejected":
        raise _rejected(state, status, revision)
    state_now = "pending" if aside and status.state == "applied" else status.state
    return replace(status, revision=revision, state=state_now)


async def receipt(
    state: State,
    written: Written,
    wait: float | None,
    told: Callable[[Any], Any] = lambda status: status,
) -> Json:
    """The answer to a write of many: what became of each, and with `wait` the nodes' status.

    `told` takes out of the status what the caller must not learn of.
    """
    body: dict[str, Any] = {
        "revision": written.revision,
        "results": [result._asdict() for result in written.results],
    }
    code = 200
    if wait is not None:
        status = await settled(state, written, wait)
        body["status"] = told(_status.revision_status(state, status, written.keys))
        code = 200 if status.state == "applied" else 202
    return Json(body, status_code=code, headers=revision_headers(written.revision))


async def _compiled(state: State, snapshot: Snapshot) -> Compiled:
    """The present state compiled: what is live, unless the two are apart just now."""
    live = state.compilation.live
    if live is not None and live.revision == snapshot.revision:
        return live
    return await state.compilation.preview(snapshot, snapshot.resources)


def _after(snapshot: Snapshot, changes: Changes) -> dict[Key, Resource]:
    kept = {k: r for k, r in snapshot.resources.items() if k not in changes.deletes}
    return {**kept, **changes.puts}


def _not_compiled(problems: tuple[Problem, ...], revision: int) -> NotCompiled:
    return NotCompiled(
        "stored, but it cannot be compiled; what was live before stays live",
        problems,
        revision_headers(revision),
    )


def _set_aside(aside: Mapping[Key, Aside], revision: int) -> ApiError:
    headers, problems = revision_headers(revision), _aside.problems(aside)
    if any(why.node for why in aside.values()):
        message = "stored, but a node refuses it; it is set aside, and everything else is live"
        return RejectedByNode(message, problems, headers)
    message = "stored, but it cannot be compiled; it is set aside, and everything else is live"
    return NotCompiled(message, problems, headers)


def _rejected(state: State, status: RevisionStatus, revision: int) -> RejectedByNode:
    mend = "Correct the resource and write it again; the last good configuration stays live"
    problems = [
        Problem(f"nodes.{node}", _status.redacted(state, found.detail), mend)
        for node, found in sorted(status.nodes.items())
        if found.state == "rejected"
    ]
    message = "stored, but a node refuses it; the last good configuration stays live"
    return RejectedByNode(message, problems, revision_headers(revision))
