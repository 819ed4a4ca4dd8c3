"""Nothing outlives `naru up`, whichever of its processes is killed. The children here are fakes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.gateway import wait_for

GUARD = "import sys; from naru.up.guard import run_guarded; sys.exit(run_guarded(sys.argv[1:]))"

WARD = """
import asyncio, os, pathlib, signal, subprocess, sys
from naru.up.guard import release_signals
release_signals()
folder, lifeline = pathlib.Path(sys.argv[1]), int(sys.argv[3])
sleeper = "import signal; signal.signal(signal.SIGTERM, signal.{on_term}); print(flush=True); signal.pause()"
spawner = (
    "import subprocess, sys; "
    "p = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=-1, start_new_session=True); "
    "p.stdout.read(1); print(p.pid, flush=True); import signal; signal.pause()"
)
child = subprocess.Popen(
    [sys.executable, "-c", spawner, sleeper], stdout=-1, start_new_session=True, close_fds=True
)
grandchild = int(child.stdout.readline())

async def main():
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(lifeline, lambda: (loop.remove_reader(lifeline), ended.set()))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda n=number: (folder / f"got-{{n}}").touch() or ended.set())
    (folder / "pids.new").write_text(f"{{os.getpid()}} {{child.pid}} {{grandchild}}")
    (folder / "pids.new").rename(folder / "pids")
    await ended.wait()
    if os.read(lifeline, 1) == b"" if not list(folder.glob("got-*")) else False:
        child.terminate()
    sys.exit(5)

asyncio.run(main())
"""


class Family:
    """A guard, its ward, and the ward's child and grandchild (in a session of its own)."""

    def __init__(self, guard: subprocess.Popen[bytes], folder: Path) -> None:
        self.guard = guard
        self.folder = folder
        wait_for(lambda: (folder / "pids").exists() or guard.poll() is not None, 20, "the family")
        pids = (folder / "pids").read_text().split()
        self.ward, self.child, self.grandchild = (psutil.Process(int(pid)) for pid in pids)

    def wait_until_gone(self) -> None:
        for process in (self.ward, self.child, self.grandchild):
            wait_for(lambda p=process: _gone(p), 20, f"the end of {process}")  # type: ignore[misc]


def _gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Callable[..., Family]]:
    started: list[Family] = []

    def start(on_term: str = "SIG_DFL") -> Family:
        ward = WARD.format(on_term=on_term)
        command = [sys.executable, "-c", GUARD, sys.executable, "-c", ward, str(tmp_path)]
        guard = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        started.append(Family(guard, tmp_path))
        return started[-1]

    yield start
    for found in started:
        for process in (found.guard, found.ward, found.child, found.grandchild):
            if isinstance(process, subprocess.Popen) or process.is_running():
                process.kill()
        found.guard.wait()


def test_the_exit_status_is_the_wards_and_its_leftovers_end(family: Callable[..., Family]) -> None:
    found = family()
    found.guard.send_signal(signal.SIGINT)
    assert found.guard.wait(20) == 5
    assert (found.folder / f"got-{signal.SIGINT.value}").exists()
    found.wait_until_gone()


def test_sigterm_is_passed_on_as_sigterm(family: Callable[..., Family]) -> None:
    found = family()
    found.guard.send_signal(signal.SIGTERM)
    assert found.guard.wait(20) == 5
    assert (found.folder / f"got-{signal.SIGTERM.value}").exists()


def test_kill_of_the_supervisor(family: Callable[..., Family]) -> None:
    found = family()
    found.ward.kill()
    assert found.guard.wait(20) == 128 + signal.SIGKILL
    found.wait_until_gone()


def test_kill_of_the_guard(family: Callable[..., Family]) -> None:
    found = family()
    found.guard.kill()
    wait_for(lambda: _gone(found.ward), 20, "the end of the ward")
    wait_for(lambda: _gone(found.child), 20, "the end of the child")


def test_an_orphaned_grandchild_is_ended_while_the_rest_goes_on(
    family: Callable[..., Family],
) -> None:
    found = family()
    found.child.kill()
    os.kill(found.ward.pid, 0)
    # The ward has not reaped the child, which is a zombie; its child is the guard's now.
    wait_for(lambda: _gone(found.grandchild), 20, "the end of the orphan")
    assert found.ward.is_running()
    assert found.guard.poll() is None


def test_a_second_ctrl_c_kills_what_ignores_sigterm(family: Callable[..., Family]) -> None:
    found = family("SIG_IGN")
    found.ward.kill()
    wait_for(lambda: _gone(found.child), 20, "the end of the child")
    assert not _gone(found.grandchild)
    found.guard.send_signal(signal.SIGINT)
    found.guard.wait(3)
    found.wait_until_gone()
