"""`_loop`: snapshots → targets; the newest wins, what fails changes nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping

import pytest

from control_plane._loop import CompileFailed, CompileLoop
from control_plane.compile import Compiled, Hold
from control_plane.resources import Key, Resource, parse
from control_plane.store import Snapshot, Stored
from tests.support.api import Nodes, upstream

pytestmark = pytest.mark.anyio


class Slow:
    """Compiles when it is let; notes which thread it ran in, and how many at once."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.threads: list[int] = []
        self.running = self.most = 0

    def compile(
        self, revision: int, resources: Mapping[Key, Resource], holds: Mapping[Key, Hold]
    ) -> Compiled:
        self.running += 1
        self.most = max(self.most, self.running)
        self.threads.append(threading.get_ident())
        self.let.wait(10)
        self.running -= 1
        if revision == 13:
            raise KeyError("unlucky")
        return Compiled(revision, {})


async def of(*snapshots: Snapshot) -> AsyncIterator[Snapshot]:
    for snapshot in snapshots:
        yield snapshot


async def test_each_snapshot_becomes_the_target() -> None:
    nodes, compiler = Nodes(), Slow()
    compiler.let.set()
    loop = CompileLoop(lambda: compiler, nodes)
    await loop.run(of(Snapshot(1), Snapshot(2)))
    assert nodes.targets == [1, 2]
    assert loop.live is not None
    assert loop.live.revision == 2


async def test_the_event_loop_goes_on_meanwhile() -> None:
    compiler = Slow()
    loop = CompileLoop(lambda: compiler, Nodes())
    running = asyncio.create_task(loop.run(of(Snapshot(1))))
    assert await loop.wait_for(1, 0.01) is None
    compiler.let.set()
    outcome = await loop.wait_for(1, 5)
    assert outcome is not None
    assert compiler.threads != [threading.get_ident()]
    await running


async def test_a_failure_keeps_the_last_good_target() -> None:
    nodes, compiler = Nodes(), Slow()
    compiler.let.set()
    seen: list[bool] = []
    loop = CompileLoop(lambda: compiler, nodes, lambda seconds, good: seen.append(good))
    await loop.run(of(Snapshot(12), Snapshot(13)))
    assert nodes.targets == [12]
    assert loop.live is not None
    assert loop.outcome is not None
    assert (loop.live.revision, loop.outcome.revision) == (12, 13)
    assert "fault of the product" in loop.outcome.problems[0].mend
    assert seen == [True, False]
    await loop.run(of(Snapshot(14)))
    assert nodes.targets == [12, 14]
    assert loop.outcome.problems == ()


async def test_a_missing_resource_is_named() -> None:
    """A stored resource that cannot be read is missing, and the compiler stumbles over that."""
    compiler = Slow()
    compiler.let.set()
    loop = CompileLoop(lambda: compiler, Nodes())
    user = parse(upstream(credential="unreadable"))
    await loop.run(of(Snapshot().with_changes(13, [Stored(user, 13, 13)])))
    assert loop.outcome is not None
    assert "credentials/unreadable" in loop.outcome.problems[0].message


async def test_trials_do_not_become_targets_and_run_one_at_a_time() -> None:
    nodes, compilers = Nodes(), [Slow(), Slow()]
    making = iter(compilers)
    loop = CompileLoop(lambda: next(making), nodes)
    trials = [asyncio.create_task(loop.preview(Snapshot(n), {})) for n in (1, 13, 3)]
    for compiler in compilers:
        compiler.let.set()
    results = await asyncio.gather(*trials, return_exceptions=True)
    assert isinstance(results[1], CompileFailed)
    assert nodes.targets == []
    assert loop.live is None
    assert [compiler.most for compiler in compilers] == [0, 1]
