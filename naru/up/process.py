"""One run of a child's program: started, logged, waited for, ended.

It leads a session of its own, so a Ctrl-C at the terminal reaches the supervisor only, and what it
leaves in its process group can be killed. When it is started again is `child.py`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from naru.up.console import Console
from naru.up.errors import MissingPart
from naru.up.lines import LineSplitter, Tidy
from naru.up.pipes import read_pipe

_TAIL = 15
_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME = 11
"""Its place in /proc/PID/stat, counted from what follows the name; stime comes next. proc(5)."""


async def _nothing() -> None:
    return None


def _as_it_is(line: str) -> str:
    return line


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to run one child.

    Attributes:
        group: its key under `pids` in endpoints.json.
        ready: asked again and again until it is true, for at most `ready_timeout` seconds.
        ready_option: if set, the process is given the option with a file descriptor, and says
            itself that it is ready by writing a newline there; `ready` is not asked then.
            https://skarnet.org/software/s6/notifywhenup.html
        alive: asked every `alive_every` seconds while it runs; one that does not answer is killed.
        pass_fds: file descriptors that it inherits.
        beside: whether a second process may serve beside the first, so that a restart has no gap.
        before_start: runs before every start.
        most_delay: seconds between two starts of one that ends again and again, at most.
        drain: runs first at a graceful stop; then SIGTERM, and after `stop_grace` s SIGKILL.
        leave_grace: the same seconds for one that was replaced by another beside it.
    """

    name: str
    group: str
    argv: tuple[str, ...]
    ready: Callable[[], Awaitable[bool]]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    ready_timeout: float = 30.0
    ready_option: str = ""
    alive: Callable[[], Awaitable[bool]] | None = None
    alive_every: float = 0.25
    pass_fds: tuple[int, ...] = ()
    beside: bool = False
    most_delay: float = 30.0
    stop_grace: float = 10.0
    leave_grace: float = 10.0
    before_start: Callable[[], None] = lambda: None
    drain: Callable[[], Awaitable[None]] = _nothing
    tidy: Tidy = _as_it_is


class Process:
    """A running, or ended, process of one spec."""

    def __init__(
        self, spec: ChildSpec, console: Console, process: asyncio.subprocess.Process
    ) -> None:
        self.spec = spec
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self.began = time.monotonic()
        self._console = console
        self._process = process
        self._said_ready = not spec.ready_option
        self._reading: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, spec: ChildSpec, console: Console) -> Process:
        """Start it.

        Raises:
            MissingPart: its program is not there, may not be executed, or has no room to run in.
        """
        try:
            spec.before_start()
            return await cls._start(spec, console)
        except OSError as error:
            what = error.filename or spec.argv[0]
            raise MissingPart(f"{spec.name} cannot be started: {error.strerror}: {what}") from error

    @classmethod
    async def _start(cls, spec: ChildSpec, console: Console) -> Process:
        with _Pipe() as output, _Pipe() as word:
            option = (spec.ready_option, str(word.write)) if spec.ready_option else ()
            # Not asyncio's own pipe: with it `wait()` would wait for whoever inherited it, too.
            process = await asyncio.create_subprocess_exec(
                *spec.argv,
                *option,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output.write,
                stderr=output.write,
                pass_fds=(*spec.pass_fds, *((word.write,) if option else ())),
                env=dict(spec.env),
                cwd=spec.cwd,
                start_new_session=True,
            )
            self = cls(spec, console, process)
            self._read(self._pump(output.keep_read()))
            if option:
                self._read(self._hear(word.keep_read()))
        return self

    @property
    def pid(self) -> int | None:
        """None once it has ended."""
        return self._process.pid if self._process.returncode is None else None

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def is_ready(self) -> bool:
        return self._said_ready if self.spec.ready_option else await self.spec.ready()

    async def wait(self) -> int:
        """Its exit status, once it has ended; -n if signal n ended it."""
        return await self._process.wait()

    async def ended_within(self, seconds: float) -> None:
        await first_of(self.wait(), _sleep(seconds))

    def cpu_seconds(self) -> float:
        """The CPU time that it has used; 0 if nobody can tell."""
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_bytes()
        except OSError:
            return 0.0
        fields = stat.rpartition(b")")[2].split()
        return sum(map(int, fields[_UTIME : _UTIME + 2])) / _TICKS

    def signal(self, number: signal.Signals) -> None:
        """Signal it and its descendants in the same session, also once it has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def end(self, hurry: asyncio.Event, grace: float | None = None) -> None:
        """SIGTERM, SIGKILL after `grace` s (`stop_grace`); `hurry` cuts the waiting short."""
        seconds = self.spec.stop_grace if grace is None else grace
        if self.pid is not None:
            self.signal(signal.SIGTERM)
            await first_of(self.wait(), _sleep(seconds), _hurried(hurry))
            if self.pid is not None:
                self._console.say(f"{self.spec.name}: did not stop in time, killing it")
        await self.clean_up()

    async def clean_up(self) -> None:
        """Kill what is left in the process group, and write what is left of the output."""
        self.signal(signal.SIGKILL)
        await self.wait()
        if self._reading:
            # A descendant in another session may hold the pipe open; the guard ends it later.
            await asyncio.wait(self._reading, timeout=0.5)
        for task in self._reading:
            task.cancel()

    def _read(self, reading: Awaitable[None]) -> None:
        task = asyncio.ensure_future(reading)
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _pump(self, read_end: int) -> None:
        splitter = LineSplitter()
        async for data in read_pipe(read_end):
            self._log(splitter.feed(data))
        self._log(splitter.end())

    async def _hear(self, read_end: int) -> None:
        async for data in read_pipe(read_end):
            self._said_ready = self._said_ready or b"\n" in data

    def _log(self, lines: list[str]) -> None:
        for line in lines:
            tidy = self.spec.tidy(line)
            self.tail.append(self._console.redact(tidy))
            self._console.line(self.spec.name, tidy)


class _Pipe:
    """A pipe; at the end of the block both ends are closed here, but for what was taken out."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self._ours = {self.read, self.write}

    def keep_read(self) -> int:
        self._ours.discard(self.read)
        return self.read

    def __enter__(self) -> _Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._ours:
            os.close(descriptor)


async def first_of(*waits: Awaitable[object]) -> None:
    """Wait for the first to end; cancel the others. Its exception, if it raised one, is dropped."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def _hurried(hurry: asyncio.Event) -> None:
    """Even in a hurry a child gets a moment to end by itself."""
    await hurry.wait()
    await asyncio.sleep(1.0)
