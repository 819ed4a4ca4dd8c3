"""The order of starts and stops, and what is published, with fake parts as real processes."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from naru.up.child import Child, ChildSpec
from naru.up.console import Console
from naru.up.errors import StartFailed
from naru.up.lines import Redactor
from naru.up.supervisor import Supervisor, System

pytestmark = pytest.mark.anyio

PART = """
import pathlib, signal, sys
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
def note(what):
    with (folder / "events").open("a") as file:
        file.write(f"{what} {name}\\n")
def end(*_):
    note("stop")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("start")
(folder / name).touch()
signal.pause()
"""
GROUPS = {"model": "bentos", "etcd": "etcd", "plane": "control_plane", "envoy": "envoy"}
GROUPS |= {"worker.0": "ext_proc", "worker.1": "ext_proc"}


class Run:
    """A supervisor over fakes; `blocked` are the obstacles that it is told of."""

    def __init__(self, folder: Path, codes: dict[str, str]) -> None:
        self.folder = folder
        self.blocked: list[str] = []
        self.published: list[tuple[dict[str, int | None], bool]] = []
        self.done: list[str] = []
        self.log = io.StringIO()
        self.stop, self.hurry = asyncio.Event(), asyncio.Event()
        stages = (["etcd"], ["plane"], ["worker.0", "worker.1"], ["envoy"])
        system = System(
            early=[self._spec("model", codes)],
            stages=[[self._spec(name, codes) for name in stage] for stage in stages],
            obstacles=self._obstacles,
            publish=self._publish,
            prepare=lambda: self._note("prepare"),
            on_ready=lambda: self._note("ready"),
        )
        console = Console(8, Redactor(), self.log)
        self.supervisor = Supervisor(system, console, self.stop, self.hurry)
        self.task = asyncio.create_task(self.supervisor.run())

    def _spec(self, name: str, codes: dict[str, str]) -> ChildSpec:
        async def ready() -> bool:
            return (self.folder / name).exists()

        return ChildSpec(
            name=name,
            group=GROUPS[name],
            argv=(sys.executable, "-uc", codes.get(name, PART), name, str(self.folder)),
            env=dict(os.environ),
            before_start=lambda: (self.folder / name).unlink(missing_ok=True),
            ready=ready,
        )

    async def _obstacles(self) -> list[str]:
        return list(self.blocked)

    async def _note(self, what: str) -> None:
        self.done.append(f"{what} live={self.live}")

    def _publish(self, children: Sequence[Child], live: bool) -> None:
        self.published.append(({child.spec.name: child.pid for child in children}, live))

    @property
    def live(self) -> bool:
        return self.published[-1][1]

    @property
    def pids(self) -> dict[str, int | None]:
        return self.published[-1][0]

    def events(self, what: str) -> list[str]:
        path = self.folder / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split()[1] for line in lines if line.startswith(what)]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)


Start = Callable[..., Run]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    runs: list[Run] = []

    def new(**codes: str) -> Run:
        runs.append(Run(tmp_path, codes))
        return runs[-1]

    yield new
    for run in runs:
        run.stop.set()
        run.hurry.set()
        await asyncio.gather(run.task, return_exceptions=True)
        assert not [pid for pids, _ in run.published for pid in pids.values() if _alive(pid)]


def _alive(pid: int | None) -> bool:
    return pid is not None and psutil.pid_exists(pid)


async def test_parts_start_and_stop_in_order(start: Start) -> None:
    run = start()
    await run.until(lambda: run.published and run.live)
    order = [name for name in run.events("start") if name != "model"]
    assert order[:2] + sorted(order[2:4]) + order[4:] == [
        "etcd",
        "plane",
        "worker.0",
        "worker.1",
        "envoy",
    ]
    run.stop.set()
    await run.task
    order = run.events("stop")
    assert order[0] == "envoy"
    assert set(order[1:3]) == {"worker.0", "worker.1"}
    assert order[3:] == ["model", "plane", "etcd"]


async def test_ready_is_said_only_after_everything_is(start: Start) -> None:
    run = start()
    run.blocked = ["gateway has not connected"]
    await run.until(lambda: "envoy: ready" in run.log.getvalue())
    await run.until(lambda: "not ready: gateway has not connected" in run.log.getvalue())
    assert not any(live for _, live in run.published)
    run.blocked = []
    await run.until(lambda: run.live and len(run.done) == 2)
    assert run.done == ["prepare live=False", "ready live=True"]
    assert all(run.pids.values())


@pytest.mark.parametrize(
    ("part", "matters"), [("envoy", True), ("worker.1", True), ("etcd", False)]
)
async def test_a_lost_part_of_the_data_plane_is_told_and_comes_back(
    start: Start, part: str, matters: bool
) -> None:
    run = start()
    await run.until(lambda: run.published and run.live)
    old, seen = run.pids[part], len(run.published)
    assert old is not None
    os.kill(old, signal.SIGKILL)
    await run.until(lambda: run.live and run.pids[part] not in (None, old))
    # While it was down, the file said so.
    assert any(pids[part] is None for pids, _ in run.published[seen:])
    assert all(live is not matters for pids, live in run.published[seen:] if pids[part] is None)


async def test_a_part_that_cannot_start_stops_the_rest(start: Start) -> None:
    run = start(envoy="import sys; print('bad bootstrap'); sys.exit(3)")
    with pytest.raises(StartFailed, match="envoy exited with status 3") as caught:
        await run.task
    assert caught.value.last_lines == ("bad bootstrap",)
    assert run.events("stop")[-1] == "etcd"
    assert not any(live for _, live in run.published)


async def test_stop_while_starting(start: Start) -> None:
    run = start(plane="import signal; signal.pause()")
    await run.until(lambda: run.published and run.pids.get("plane"))
    run.stop.set()
    async with asyncio.timeout(20):
        await run.task
    assert "worker.0" not in run.pids


async def test_stop_is_told_before_anything_stops(start: Start) -> None:
    run = start()
    await run.until(lambda: run.published and run.live)
    seen = len(run.published)
    run.stop.set()
    await run.task
    pids, live = run.published[seen]
    assert (live, all(pids.values())) == (False, True)


async def test_a_disk_that_is_full_does_not_end_the_supervision(start: Start) -> None:
    run = start()
    await run.until(lambda: run.published and run.live)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    object.__setattr__(run.supervisor._system, "publish", full)
    old = run.pids["etcd"]
    assert old is not None
    os.kill(old, signal.SIGKILL)
    await run.until(lambda: len(run.events("start")) == 7)
    assert "No space left" in run.log.getvalue()
    object.__setattr__(run.supervisor._system, "publish", run._publish)


async def test_a_group_is_replaced_one_after_the_other(start: Start) -> None:
    run = start()
    await run.until(lambda: run.published and run.live)
    old, told = dict(run.pids), []

    async def tell(line: dict[str, Any]) -> None:
        told.append(line)

    await asyncio.gather(*(run.supervisor.replace("ext_proc", tell) for _ in range(2)))
    assert [line["name"] for line in told] == ["worker.0", "worker.1"] * 2
    assert [line["old"] for line in told[:2]] == [old["worker.0"], old["worker.1"]]
    assert [line["old"] for line in told[2:]] == [line["new"] for line in told[:2]]
    assert run.pids["worker.1"] == told[3]["new"]
    assert run.pids["etcd"] == old["etcd"]


async def test_whoever_asked_may_go_away(start: Start) -> None:
    run = start()
    await run.until(lambda: run.published and run.live)
    old = dict(run.pids)

    async def tell(_line: dict[str, Any]) -> None:
        raise BrokenPipeError

    await run.supervisor.replace("ext_proc", tell)
    assert run.pids["worker.0"] != old["worker.0"]
    assert run.pids["worker.1"] != old["worker.1"]


async def test_after_one_that_fails_the_rest_is_left_alone(start: Start) -> None:
    once = PART.replace('note("start")', 'note("start"); (folder / "no").exists() and sys.exit(4)')
    run = start(**{"worker.0": once})
    await run.until(lambda: run.published and run.live)
    old, told = dict(run.pids), []

    async def tell(line: dict[str, Any]) -> None:
        told.append(line)

    (run.folder / "no").touch()
    await run.supervisor.replace("ext_proc", tell)
    assert [line.keys() for line in told] == [{"error"}]
    assert "worker.0 exited with status" in told[0]["error"]
    assert run.pids["worker.1"] == old["worker.1"]
    (run.folder / "no").unlink()


async def test_a_replacement_ends_with_the_supervisor(start: Start) -> None:
    run = start()
    await run.until(lambda: run.published and run.live)

    async def tell(_line: dict[str, Any]) -> None:
        await asyncio.Future()

    replacing = asyncio.create_task(run.supervisor.replace("ext_proc", tell))
    await run.until(lambda: len(run.events("start")) == 6)
    run.stop.set()
    await run.task
    assert replacing.cancelled()
