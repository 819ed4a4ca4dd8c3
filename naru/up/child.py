"""One supervised child process: started, watched, logged, restarted with back-off, stopped.

Each child leads a session of its own, so a Ctrl-C at the terminal reaches the supervisor only, and
what a dead child left in its process group can be killed before it is started again.
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
from naru.up.errors import MissingPart, StartFailed
from naru.up.lines import LineSplitter, Tidy
from naru.up.pipes import read_pipe
from naru.up.restart import Backoff

_TAIL = 15
_READY_POLL = 0.05
_PROGRESS_EVERY = 5.0


async def _nothing() -> None:
    return None


def _as_it_is(line: str) -> str:
    return line


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to run one child.

    `group` is its key under `pids` in endpoints.json. `ready` is asked again and again until it is
    true, for at most `ready_timeout` seconds. `before_start` runs before every start. At a graceful
    stop `drain` runs first; then SIGTERM, and after `stop_grace` seconds SIGKILL.
    """

    name: str
    group: str
    argv: tuple[str, ...]
    ready: Callable[[], Awaitable[bool]]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    ready_timeout: float = 30.0
    stop_grace: float = 10.0
    before_start: Callable[[], None] = lambda: None
    drain: Callable[[], Awaitable[None]] = _nothing
    tidy: Tidy = _as_it_is


class Child:
    """The process of one spec; `on_change` is called whenever its pid or readiness changes."""

    def __init__(
        self,
        spec: ChildSpec,
        console: Console,
        on_change: Callable[[], None] = lambda: None,
        backoff: Backoff | None = None,
    ) -> None:
        self.spec = spec
        self.ready = False
        self._console = console
        self._on_change = on_change
        self._backoff = backoff or Backoff()
        self._process: asyncio.subprocess.Process | None = None
        self._output: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL)

    @property
    def pid(self) -> int | None:
        """The pid of the running process; none while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def launch(self) -> None:
        """Start the process.

        Raises:
            MissingPart: its program is not there, may not be executed, or has no room to run in.
        """
        self._tail.clear()
        try:
            self.spec.before_start()
            await self._spawn_with_output()
        except OSError as error:
            what = error.filename or self.spec.argv[0]
            raise MissingPart(
                f"{self.spec.name} cannot be started: {error.strerror}: {what}"
            ) from error
        self._on_change()

    async def _spawn_with_output(self) -> None:
        read_end, write_end = os.pipe()
        self._output = asyncio.create_task(self._pump(read_end))
        try:
            self._process = await self._spawn(write_end)
        finally:
            os.close(write_end)

    async def _spawn(self, output: int) -> asyncio.subprocess.Process:
        # Not asyncio's own pipe: with it `wait()` would wait for whoever inherited it, too.
        return await asyncio.create_subprocess_exec(
            *self.spec.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(self.spec.env),
            cwd=self.spec.cwd,
            start_new_session=True,
        )

    async def first_ready(self) -> None:
        """Wait until the first start is ready, with a progress line now and then; then keep it up.

        Raises:
            StartFailed: it exited, or was not ready in time.
        """
        began = time.monotonic()
        said = began
        while not await self._answers():
            now = time.monotonic()
            if now - began > self.spec.ready_timeout:
                raise StartFailed(
                    self.spec.name, f"was not ready after {now - began:.0f} s", self._tail
                )
            if now - said >= _PROGRESS_EVERY:
                said = now
                self._console.say(f"{self.spec.name}: still starting ({now - began:.0f} s) …")
            await self._exited_within(_READY_POLL)
        self._console.say(f"{self.spec.name}: ready after {time.monotonic() - began:.1f} s")
        self._set_ready(True)
        self._keeper = asyncio.create_task(self._keep_up())

    async def stop(self, hurry: asyncio.Event) -> None:
        """Drain, SIGTERM, SIGKILL; `hurry` cuts the waiting short at any point."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        process = self._process
        if process is not None and self.pid is not None:
            if not hurry.is_set():
                await _first_of(self.spec.drain(), hurry.wait())
            self._signal_group(signal.SIGTERM)
            await _first_of(process.wait(), _sleep(self.spec.stop_grace), _hurried(hurry))
            if process.returncode is None:
                self._console.say(f"{self.spec.name}: did not stop in time, killing it")
        await self._clean_up()
        self._set_ready(False)

    async def _keep_up(self) -> None:
        """Restart the process whenever it ends, until cancelled."""
        while True:
            began = time.monotonic()
            reason = _ended(await self._running().wait())
            ran_for = time.monotonic() - began
            await self._clean_up()
            self._set_ready(False)
            while not await self._relaunched(reason, ran_for):
                reason, ran_for = "could not be started", 0.0

    async def _relaunched(self, reason: str, ran_for: float) -> bool:
        """Wait for as long as the back-off says, start, and wait until ready or ended again."""
        delay = self._backoff.delay(ran_for)
        self._console.say(f"{self.spec.name}: {reason}; restarting in {delay:.1f} s")
        await asyncio.sleep(delay)
        try:
            await self.launch()
        except MissingPart as error:
            self._console.say(str(error))
            return False
        deadline = time.monotonic() + self.spec.ready_timeout
        while self.pid is not None and not await self.spec.ready():
            if time.monotonic() > deadline:
                self._console.say(f"{self.spec.name}: not ready in time, killing it")
                self._signal_group(signal.SIGKILL)
            await self._exited_within(_READY_POLL)
        self._set_ready(self.pid is not None)
        return True

    async def _answers(self) -> bool:
        """Whether it is ready now.

        Raises:
            StartFailed: it has exited. Restarting would only repeat what its last lines say.
        """
        code = self._running().returncode
        if code is not None:
            await self._clean_up()
            raise StartFailed(self.spec.name, _ended(code), self._tail)
        return await self.spec.ready()

    async def _exited_within(self, seconds: float) -> None:
        await _first_of(self._running().wait(), _sleep(seconds))

    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "launch() comes first"
        return self._process

    async def _clean_up(self) -> None:
        """Kill what is left in the process group, and write what is left of the output."""
        if self._process is None:
            return
        self._signal_group(signal.SIGKILL)
        await self._process.wait()
        if self._output is not None:
            # A descendant in another session may hold the pipe open; the guard ends it later.
            await asyncio.wait({self._output}, timeout=0.5)
            self._output.cancel()
        self._process = None

    async def _pump(self, read_end: int) -> None:
        splitter = LineSplitter()
        async for data in read_pipe(read_end):
            self._log(splitter.feed(data))
        self._log(splitter.end())

    def _log(self, lines: list[str]) -> None:
        for line in lines:
            tidy = self.spec.tidy(line)
            self._tail.append(self._console.redact(tidy))
            self._console.line(self.spec.name, tidy)

    def _signal_group(self, number: signal.Signals) -> None:
        """Signal the process and its descendants in the same session, also once it has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._running().pid, number)

    def _set_ready(self, ready: bool) -> None:
        self.ready = ready
        self._on_change()


async def _first_of(*waits: Awaitable[object]) -> None:
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


def _ended(code: int) -> str:
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
