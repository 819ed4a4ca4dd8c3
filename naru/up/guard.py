"""The process that the user started: it holds the terminal and makes sure that nothing outlives it.

It starts the supervisor in a session of its own, passes signals on, and as *subreaper* (Linux
prctl(2), PR_SET_CHILD_SUBREAPER) becomes the parent of every process below it whose own parent
died. So whichever process is killed, even with SIGKILL, nothing is left:

- this process: the supervisor's lifeline (a pipe) ends, and it stops everything in order;
- the supervisor: its children become this process's children, which it terminates, then kills;
- a child that has children of its own (BentoML): those are adopted here, terminated, then killed.

It does nothing else: no event loop, no threads, no network.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a process that nobody looks after any more."""

_PR_SET_CHILD_SUBREAPER = 36
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WATCHED = frozenset({*_PASSED_ON, signal.SIGCHLD})
_POLL = 1.0


def run_guarded(command: Sequence[str], keep: Sequence[int] = ()) -> int:
    """Run `command --lifeline FD` under guard until it and all its descendants are gone.

    `keep` are file descriptors that the command inherits (the lock). Returns the exit status,
    128 + n for a command that signal n ended.
    """
    _become_subreaper()
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    lifeline, ours = os.pipe()
    argv = [*command, "--lifeline", str(lifeline)]
    ward = subprocess.Popen(argv, pass_fds=(lifeline, *keep), start_new_session=True)
    os.close(lifeline)
    status = _watch(ward.pid)
    ward.returncode = status
    _sweep()
    os.close(ours)
    return status


def release_signals() -> None:
    """To be called first by the guarded process, which inherits the guard's signal mask."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)


class Orphans:
    """Decides what to send to adopted processes: SIGTERM when first seen, SIGKILL after `GRACE`."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}

    def due(self, adopted: Sequence[int], now: float) -> list[tuple[int, signal.Signals]]:
        self._seen = {pid: self._seen[pid] for pid in adopted if pid in self._seen}
        actions = []
        for pid in adopted:
            if pid not in self._seen:
                self._seen[pid] = now
                actions.append((pid, signal.SIGTERM))
            elif now - self._seen[pid] >= GRACE:
                actions.append((pid, signal.SIGKILL))
        return actions


def _watch(ward: int) -> int:
    """Pass signals on and reap, until the ward has ended; its exit status."""
    orphans = Orphans()
    while True:
        received = signal.sigtimedwait(_WATCHED, _POLL)
        if received is not None and received.si_signo in _PASSED_ON:
            os.kill(ward, received.si_signo)  # not reaped yet, so the pid is still the ward's
        status = _reap(ward)
        if status is not None:
            return status
        adopted = [pid for pid in children() if pid != ward]
        _send(orphans.due(adopted, time.monotonic()))


def _sweep() -> None:
    """End every process that is left. What their end orphans becomes a child here as well."""
    orphans = Orphans()
    impatient = False
    while _reap_all():
        left = children()
        due = orphans.due(left, time.monotonic())
        _send([(pid, signal.SIGKILL) for pid in left] if impatient else due)
        received = signal.sigtimedwait(_WATCHED, 0.1)
        impatient |= received is not None and received.si_signo in _PASSED_ON


def children() -> list[int]:
    """The pids of this process's children (proc(5), needs CONFIG_PROC_CHILDREN, as Debian has)."""
    me = os.getpid()
    return [int(pid) for pid in Path(f"/proc/{me}/task/{me}/children").read_text().split()]


def _send(actions: Sequence[tuple[int, signal.Signals]]) -> None:
    for pid, number in actions:
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # cannot be: unreaped children keep their pid
            continue


def _reap(ward: int) -> int | None:
    """Collect everything that has ended; the ward's exit status if it is among it."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == ward:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code


def _reap_all() -> bool:
    """Collect everything that has ended; whether anything is left."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True


def _become_subreaper() -> None:
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
