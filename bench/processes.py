"""What processes cost: CPU time and memory of whole trees, read from /proc.

https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import psutil

_TICKS: Final = os.sysconf("SC_CLK_TCK")

Roles = Mapping[str, Sequence[int]]
"""The processes of each role. Their descendants belong to it, unless another role names them."""


def tree(roots: Iterable[int], others: Iterable[int] = ()) -> list[int]:
    """The roots that live and their descendants, each once, without the trees of `others`."""
    found: dict[int, None] = {}
    for pid in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            found |= dict.fromkeys([pid, *(child.pid for child in root.children(recursive=True))])
    cut = set(tree(others)) if others else set()
    return [pid for pid in found if pid not in cut]


def members(roles: Roles) -> dict[str, list[int]]:
    """Every process, under one role only."""
    return {role: tree(pids, _strangers(roles, role)) for role, pids in roles.items()}


def _strangers(roles: Roles, role: str) -> list[int]:
    inside = set(tree(roles[role])) - set(roles[role])
    named = [pid for other, pids in roles.items() if other != role for pid in pids]
    return [pid for pid in named if pid in inside]


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time so far. What reaped children have used counts for their parents."""
    return sum(map(_ticks, pids)) / _TICKS


def _ticks(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # utime, stime, cutime, cstime; the name before them may hold spaces.
    return sum(map(int, stat.rpartition(")")[2].split()[11:15]))


def cpu_by_role(roles: Roles) -> dict[str, float]:
    """Seconds of CPU by role."""
    return {role: cpu_seconds(pids) for role, pids in members(roles).items()}


def rss_by_role(roles: Roles) -> dict[str, float]:
    """Resident memory by role, in MB. Pages that processes share count for each."""
    return {role: sum(map(_rss, pids)) / 1e6 for role, pids in members(roles).items()}


def _rss(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def signal_trees(roots: Iterable[int], sign: int) -> None:
    """Children first, so that no parent misses them."""
    for pid in reversed(tree(roots)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)


@contextmanager
def running(
    command: Sequence[str], log: Path, **options: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to `log`; its whole tree is gone when the block ends.

    In a session of its own, like all that is measured: Linux shares the cores among sessions first
    (sched(7), autogroup), so one with the load in it would be served otherwise than one without.
    """
    with log.open("ab") as output:
        process = _start(command, output, options)
    try:
        yield process
    finally:
        stop(process)


def _start(
    command: Sequence[str], output: IO[bytes], options: Mapping[str, object]
) -> subprocess.Popen[bytes]:
    defaults: dict[str, object] = {"stdin": subprocess.DEVNULL, "start_new_session": True}
    chosen: dict[str, object] = defaults | {"stdout": output, "stderr": output} | dict(options)
    started: subprocess.Popen[bytes] = subprocess.Popen(command, **chosen)  # type: ignore[call-overload]
    return started


def _processes(pids: Iterable[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            yield psutil.Process(pid)


def stop(process: subprocess.Popen[bytes], seconds: float = 15) -> None:
    """SIGTERM, then SIGKILL for whatever of the tree is left."""
    # Remembered with their start times, so that no stranger with an old pid is killed.
    whole = list(_processes(tree([process.pid])))
    if process.stdin is not None:
        process.stdin.close()
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    for one in whole:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait(5)
    psutil.wait_procs(whole, timeout=5)
