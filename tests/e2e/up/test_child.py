"""One supervised child, as a real process that behaves well, badly, or not at all."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from naru.up.child import Child, ChildSpec
from naru.up.console import Console
from naru.up.errors import MissingPart, StartFailed, UpError
from naru.up.lines import Redactor
from naru.up.restart import Backoff

pytestmark = pytest.mark.anyio

READY = "import pathlib, signal, sys, time; path = pathlib.Path(sys.argv[1])\n"
SERVES = READY + "path.touch(); print('serving'); signal.pause()"
STUBBORN = READY + "signal.signal(signal.SIGTERM, signal.SIG_IGN); path.touch(); signal.pause()"
DIES = READY + "print('secret-of-mine'); print('no such file'); sys.exit(7)"
NEVER_READY = READY + "print('thinking'); signal.pause()"
WITH_GRANDCHILD = READY + (
    "import subprocess\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
    "path.write_text(str(child.pid)); signal.pause()"
)


def children() -> set[int]:
    """Of this process, those of other tests' fixtures too."""
    return {process.pid for process in psutil.Process().children()}


class Nursery:
    """Makes children and ends them all, whatever happens."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / "ready"
        self.log = io.StringIO()
        self.changes = 0
        self.hurry = asyncio.Event()
        self._children: list[Child] = []

    def child(self, code: str, *, size: int = 0, **more: Any) -> Child:
        async def ready() -> bool:
            return self.marker.exists() and self.marker.stat().st_size >= size

        spec = ChildSpec(
            name="part",
            group="etcd",
            argv=more.pop("argv", (sys.executable, "-uc", code, str(self.marker))),
            env=dict(os.environ),
            before_start=lambda: self.marker.unlink(missing_ok=True),
            ready=more.pop("ready", ready),
            **more,
        )
        console = Console(4, Redactor(["secret-of-mine"]), self.log)
        child = Child(spec, console, self._on_change, Backoff(first=0.1, limit=0.2, calm=60))
        self._children.append(child)
        return child

    def _on_change(self) -> None:
        self.changes += 1

    async def close(self) -> None:
        self.hurry.set()
        for child in self._children:
            await child.stop(self.hurry)


@pytest.fixture
async def nursery(tmp_path: Path) -> AsyncIterator[Nursery]:
    nursery = Nursery(tmp_path)
    yield nursery
    await nursery.close()


async def until(condition: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def started(child: Child) -> int:
    await child.launch()
    await child.first_ready()
    assert child.pid is not None
    return child.pid


async def test_it_starts_logs_and_stops(nursery: Nursery) -> None:
    child = nursery.child(SERVES)
    pid = await started(child)
    assert child.ready
    await child.stop(nursery.hurry)
    assert not psutil.pid_exists(pid)
    assert (child.pid, child.ready) == (None, False)
    assert "part | serving" in nursery.log.getvalue()
    assert nursery.changes >= 3


async def test_one_that_exits_at_once_is_an_error_with_its_last_lines(nursery: Nursery) -> None:
    child = nursery.child(DIES)
    with pytest.raises(StartFailed) as caught:
        await started(child)
    message = str(caught.value)
    assert "part exited with status 7" in message
    assert "no such file" in message
    assert "[hidden]" in message
    assert "secret-of-mine" not in message + nursery.log.getvalue()


async def test_one_that_is_never_ready_is_an_error_with_its_last_lines(nursery: Nursery) -> None:
    child = nursery.child(NEVER_READY, ready_timeout=1.5)
    with pytest.raises(StartFailed, match="not ready after") as caught:
        await started(child)
    assert caught.value.last_lines == ("thinking",)


@pytest.mark.parametrize("argv", [("/nonexistent/program",), (__file__,)])
async def test_one_that_cannot_be_executed(nursery: Nursery, argv: tuple[str, ...]) -> None:
    with pytest.raises(MissingPart, match=f"part cannot be started: .*{argv[0]}"):
        await nursery.child("", argv=argv).launch()


async def test_it_is_restarted_with_growing_delays(nursery: Nursery) -> None:
    child = nursery.child(SERVES)
    pids = {await started(child)}
    for _ in range(4):
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda: child.pid not in {None, *pids} and child.ready)
        pids.add(child.pid or 0)
    log = nursery.log.getvalue()
    delays = [line.rpartition("restarting ")[2] for line in log.splitlines() if "SIGKILL" in line]
    assert delays == ["at once", "in 0.1 s", "in 0.2 s", "in 0.2 s"]


async def test_it_is_not_ready_while_it_is_down(nursery: Nursery) -> None:
    child = nursery.child(SERVES)
    pid = await started(child)
    seen: list[tuple[bool, bool]] = []
    child._on_change = lambda: seen.append((child.ready, child.pid is not None))
    os.kill(pid, signal.SIGKILL)
    await until(lambda: child.ready and child.pid not in (None, pid))
    assert seen == [(False, False), (False, True), (True, True)]


async def test_a_stubborn_one_is_killed_after_its_grace(nursery: Nursery) -> None:
    child = nursery.child(STUBBORN, stop_grace=0.2)
    pid = await started(child)
    await child.stop(nursery.hurry)
    assert not psutil.pid_exists(pid)
    assert "did not stop in time" in nursery.log.getvalue()


async def test_a_hurry_cuts_drain_and_grace_short(nursery: Nursery) -> None:
    forever = asyncio.Event()

    async def drain() -> None:
        await forever.wait()

    child = nursery.child(STUBBORN, stop_grace=3600, drain=drain)
    pid = await started(child)
    stopping = asyncio.create_task(child.stop(nursery.hurry))
    nursery.hurry.set()
    async with asyncio.timeout(10):
        await stopping
    assert not psutil.pid_exists(pid)


async def test_drain_comes_before_sigterm(nursery: Nursery) -> None:
    alive_at_drain = []

    async def drain() -> None:
        alive_at_drain.append(child.pid)

    child = nursery.child(SERVES, drain=drain)
    pid = await started(child)
    await child.stop(nursery.hurry)
    assert alive_at_drain == [pid]


async def test_what_a_killed_child_leaves_is_killed_before_the_restart(nursery: Nursery) -> None:
    child = nursery.child(WITH_GRANDCHILD, size=1)
    pid = await started(child)
    await until(lambda: nursery.marker.read_text())
    left = psutil.Process(int(nursery.marker.read_text()))
    os.kill(pid, signal.SIGKILL)
    await until(lambda: child.ready and child.pid not in (None, pid))
    await until(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE)


async def test_stop_before_launch_and_twice(nursery: Nursery) -> None:
    child = nursery.child(SERVES)
    await child.stop(nursery.hurry)
    await started(child)
    await child.stop(nursery.hurry)
    await child.stop(nursery.hurry)


# -- a process that says itself when it is ready, and that another one replaces

SAYS = "import os, signal, sys; fd = int(sys.argv[-1])\n"
READY_AT_ONCE = SAYS + "os.write(fd, b'\\n'); os.close(fd); signal.pause()"
NEVER_SAYS = SAYS + "os.close(fd); signal.pause()"
FAILS_LATER = SAYS + (
    "import pathlib; other = pathlib.Path(sys.argv[1] + '.second')\n"
    "sys.exit(3) if other.exists() else other.touch()\n"
    "os.write(fd, b'\\n'); signal.pause()"
)


async def asked_too_often() -> bool:
    raise AssertionError("it says itself when it is ready")


def speaking(nursery: Nursery, code: str, **more: Any) -> Child:
    options: dict[str, Any] = {"ready": asked_too_often, "ready_option": "--ready-fd"}
    return nursery.child(code, **(options | {"beside": True} | more))


async def test_its_own_word_makes_it_ready(nursery: Nursery) -> None:
    child = speaking(nursery, READY_AT_ONCE)
    await started(child)
    assert child.ready


async def test_without_its_word_it_is_not_ready(nursery: Nursery) -> None:
    child = speaking(nursery, NEVER_SAYS, ready_timeout=0.5)
    with pytest.raises(StartFailed, match="not ready after"):
        await started(child)


async def test_another_takes_its_place_and_is_kept_up(nursery: Nursery) -> None:
    child = speaking(nursery, READY_AT_ONCE)
    old = await started(child)
    seen: list[bool] = []
    child._on_change = lambda: seen.append(child.ready)
    assert await child.replace(nursery.hurry), "the old one has ended"
    new = child.pid
    assert new not in (None, old)
    assert not psutil.pid_exists(old)
    assert seen
    assert all(seen), "it was ready all the time"
    os.kill(new or 0, signal.SIGKILL)
    await until(lambda: child.ready and child.pid not in (None, new))


async def test_one_that_has_not_started_is_not_replaced(nursery: Nursery) -> None:
    child = speaking(nursery, NEVER_SAYS)
    await child.launch()
    with pytest.raises(UpError, match="has not started yet"):
        await child.replace(nursery.hurry)


async def test_one_that_does_not_come_up_leaves_the_old_one(nursery: Nursery) -> None:
    child = speaking(nursery, FAILS_LATER)
    old = await started(child)
    with pytest.raises(StartFailed, match="exited with status 3"):
        await child.replace(nursery.hurry)
    assert (child.pid, child.ready) == (old, True)


async def test_a_replacement_that_is_called_off_leaves_the_old_one(nursery: Nursery) -> None:
    child = speaking(nursery, FAILS_LATER.replace("sys.exit(3)", "signal.pause()"))
    old = await started(child)
    before = children()
    replacing = asyncio.create_task(child.replace(nursery.hurry))
    await until(lambda: len(children() - before) == 1)
    replacing.cancel()
    await asyncio.wait({replacing})
    assert (child.pid, child.ready) == (old, True)
    assert children() == before


async def test_where_two_cannot_serve_the_old_one_ends_first(nursery: Nursery) -> None:
    child = speaking(nursery, READY_AT_ONCE, beside=False)
    old = await started(child)
    seen: list[tuple[bool, bool]] = []
    child._on_change = lambda: seen.append((child.ready, psutil.pid_exists(old)))
    await child.replace(nursery.hurry)
    assert seen == [(False, False), (False, False), (True, False)]
    assert child.pid not in (None, old)


async def test_one_that_does_not_answer_is_killed_and_comes_back(nursery: Nursery) -> None:
    hangs: set[int | None] = set()

    async def alive() -> bool:
        return child.pid not in hangs

    child = speaking(nursery, READY_AT_ONCE, alive=alive)
    old = await started(child)
    hangs.add(old)
    await until(lambda: child.ready and child.pid not in (None, old))
    assert "part: does not answer, killing it" in nursery.log.getvalue()
    assert not psutil.pid_exists(old)


LINGERS = SAYS + (
    "signal.signal(signal.SIGTERM, lambda *_: print('asked to end'))\n"
    "signal.signal(signal.SIGUSR1, lambda *_: sys.exit())\n"
    "os.write(fd, b'\\n'); os.close(fd)\n"
    "while True: signal.pause()"
)


async def lingering(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> tuple[Child, int]:
    """A child that was replaced, and the old process, which has not ended yet."""
    monkeypatch.setattr("naru.up.child._FAREWELL", 0.05)
    child = speaking(nursery, LINGERS, stop_grace=0.2, leave_grace=3600)
    old = await started(child)
    assert not await child.replace(nursery.hurry)
    assert f"the old one, pid {old}, finishes what it has" in nursery.log.getvalue()
    await until(lambda: "asked to end" in nursery.log.getvalue())
    assert child.pid not in (None, old)
    assert psutil.pid_exists(old)
    return child, old


async def test_the_old_one_may_finish_what_it_has(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, old = await lingering(nursery, monkeypatch)
    new = child.pid
    os.kill(old, signal.SIGUSR1)
    await until(lambda: not child._leaving)
    assert not psutil.pid_exists(old)
    assert (child.pid, child.ready) == (new, True)


async def test_a_stop_ends_those_that_were_replaced(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, old = await lingering(nursery, monkeypatch)
    await child.replace(nursery.hurry)
    left = {old, *(process.pid for process in child._leaving)}
    assert len(left) == 2
    await child.stop(nursery.hurry)
    assert not [pid for pid in left if pid and psutil.pid_exists(pid)]
    assert not child._leaving


async def test_beside_a_new_one_the_old_one_is_not_asked(nursery: Nursery) -> None:
    """The new one may have taken the question, and hang."""
    answers = True

    async def alive() -> bool:
        return answers

    never_again = FAILS_LATER.replace("sys.exit(3)", "signal.pause()")
    child = speaking(nursery, never_again, alive=alive, ready_timeout=1.5)
    old = await started(child)
    before = children()
    replacing = asyncio.create_task(child.replace(nursery.hurry))
    await until(lambda: len(children() - before) == 1)
    answers = False
    with pytest.raises(StartFailed, match="not ready after"):
        await replacing
    answers = True
    assert child.pid == old
    assert "does not answer" not in nursery.log.getvalue()


async def test_it_inherits_what_it_is_given_and_nothing_else(nursery: Nursery) -> None:
    given, other = os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)
    code = (
        "import os, sys; fd = int(sys.argv[-1]); open_ = set(os.listdir('/proc/self/fd'))\n"
        "print('given' if sys.argv[2] in open_ else 'none', sys.argv[3] in open_)\n"
        "os.write(fd, b'\\n'); import signal; signal.pause()"
    )
    argv = (sys.executable, "-uc", code, "x", str(given), str(other))
    child = speaking(nursery, "", argv=argv, pass_fds=(given,))
    await started(child)
    await until(lambda: "part | given False" in nursery.log.getvalue())
    os.close(given)
    os.close(other)
