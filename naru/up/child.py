"""One supervised child: a process that is kept up, with back-off, replaced and stopped."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence

from naru.up.console import Console
from naru.up.errors import MissingPart, StartFailed, UpError
from naru.up.process import ChildSpec, Process, first_of
from naru.up.restart import Backoff
from naru.up.silence import Silence

__all__ = ["Child", "ChildSpec"]

_READY_POLL = 0.05
_PROGRESS_EVERY = 5.0
_FAREWELL = 2.0
"""Seconds that a replacement waits for the old process: without open streams it ends within."""


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
        self._backoff = backoff or Backoff(limit=spec.most_delay)
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._leaving: dict[Process, asyncio.Task[None]] = {}
        self._crowded = False

    @property
    def pid(self) -> int | None:
        """The pid of the running process; none while there is none."""
        return None if self._process is None else self._process.pid

    async def launch(self) -> None:
        """Start the process.

        Raises:
            MissingPart: its program is not there, may not be executed, or has no room to run in.
        """
        self._process = await Process.start(self.spec, self._console)
        self._on_change()

    async def first_ready(self) -> None:
        """Wait until the first start is ready, with a progress line now and then; then keep it up.

        Raises:
            StartFailed: it exited, or was not ready in time.
        """
        assert self._process is not None, "launch() comes first"
        await self._until_ready(self._process)
        self._set_ready(True)
        self._keep()

    async def replace(self, hurry: asyncio.Event) -> bool:
        """Have another process in its place: where two may serve at once, without a gap.

        Returns whether the old one has ended; if not, it still finishes what it has.

        Raises:
            UpError: the new one does not come up, or the first has not come up yet. The old one
                goes on, unless it had to end first; then it is tried for again.
        """
        if self._keeper is None:
            raise UpError(f"{self.spec.name} has not started yet.")
        if self.spec.beside:
            return await self._replace_beside(hurry)
        await self._end_process(hurry)
        try:
            await self.launch()
            await self.first_ready()
        except UpError:
            self._keep()
            raise
        return True

    async def _replace_beside(self, hurry: asyncio.Event) -> bool:
        self._crowded = True
        try:
            new = await self._start_beside()
        finally:
            self._crowded = False
        old, self._process = self._process, new
        self._set_ready(True)
        self._keep()
        return old is None or await self._see_off(old, hurry)

    async def _start_beside(self) -> Process:
        """A process that is ready, and the first one no longer kept up."""
        new = await Process.start(self.spec, self._console)
        try:
            await self._until_ready(new)
            await self._stop_keeping()
        except asyncio.CancelledError:
            await new.clean_up()
            raise
        return new

    async def _see_off(self, old: Process, hurry: asyncio.Event) -> bool:
        """Let a replaced process finish what it has; whether it did so at once."""
        pid, leaving = old.pid, asyncio.create_task(old.end(hurry, self.spec.leave_grace))
        self._leaving[old] = leaving
        leaving.add_done_callback(lambda _: self._leaving.pop(old, None))
        done, _ = await asyncio.wait({leaving}, timeout=_FAREWELL)
        if not done:
            self._console.say(f"{self.spec.name}: the old one, pid {pid}, finishes what it has")
        return bool(done)

    async def stop(self, hurry: asyncio.Event) -> None:
        """Drain, SIGTERM, SIGKILL; `hurry` cuts the waiting short at any point."""
        await self._stop_keeping()
        if self.pid is not None and not hurry.is_set():
            await first_of(self.spec.drain(), hurry.wait())
        await asyncio.gather(self._end_process(hurry), self._end_leaving(hurry))

    async def _end_leaving(self, hurry: asyncio.Event) -> None:
        """Give those that were replaced no longer than the others."""
        leaving = dict(self._leaving)
        for task in leaving.values():
            task.cancel()
        await asyncio.gather(*leaving.values(), return_exceptions=True)
        await asyncio.gather(*(old.end(hurry) for old in leaving))

    async def _end_process(self, hurry: asyncio.Event) -> None:
        await self._stop_keeping()
        if self._process is not None:
            await self._process.end(hurry)
        self._process = None
        self._set_ready(False)

    def _keep(self) -> None:
        self._keeper = asyncio.create_task(self._keep_up())

    async def _stop_keeping(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})  # raises if this one is cancelled, unlike awaiting
        self._keeper = None

    async def _keep_up(self) -> None:
        """Restart the process whenever it ends, until cancelled."""
        while True:
            if self._process is not None:
                reason, ran_for = await self._run(self._process)
                self._process = None
                self._set_ready(False)
                await self._pause(reason, ran_for)
            while not await self._relaunched():
                await self._pause("could not be started", 0.0)

    async def _run(self, process: Process) -> tuple[str, float]:
        """Watch it to its end: why it ended, and how long it ran."""
        watch = asyncio.create_task(self._watch(process))
        try:
            code = await process.wait()
        finally:
            watch.cancel()
        ran_for = time.monotonic() - process.began
        await process.clean_up()
        return _ended(code), ran_for

    async def _watch(self, process: Process) -> None:
        """Kill it once it does not answer any more: it would keep what it has for ever."""
        alive, silence = self.spec.alive, Silence()
        while alive is not None:
            await asyncio.sleep(self.spec.alive_every)
            silence.asked(time.monotonic(), process.cpu_seconds())
            # Of two that serve one socket either may take the question: then it says nothing.
            if self._crowded or await alive() or self._crowded:
                silence.answered()
            elif silence.is_death(time.monotonic(), process.cpu_seconds()):
                self._console.say(f"{self.spec.name}: does not answer, killing it")
                process.signal(signal.SIGKILL)
                return

    async def _pause(self, reason: str, ran_for: float) -> None:
        delay = self._backoff.delay(ran_for)
        when = f"in {delay:.1f} s" if delay else "at once"
        self._console.say(f"{self.spec.name}: {reason}; restarting {when}")
        await asyncio.sleep(delay)

    async def _relaunched(self) -> bool:
        """Start, and wait until it is ready or has ended again."""
        try:
            await self.launch()
        except MissingPart as error:
            self._console.say(str(error))
            return False
        process = self._process
        assert process is not None
        deadline = time.monotonic() + self.spec.ready_timeout
        while process.pid is not None and not await process.is_ready():
            if time.monotonic() > deadline:
                self._console.say(f"{self.spec.name}: not ready in time, killing it")
                process.signal(signal.SIGKILL)
            await process.ended_within(_READY_POLL)
        self._set_ready(process.pid is not None)
        return True

    async def _until_ready(self, process: Process) -> None:
        """Wait until a process is ready, with a progress line now and then.

        Raises:
            StartFailed: it exited (to restart it would only repeat what its last lines say), or was
                not ready in time. It is gone then.
        """
        said = process.began
        while not await self._answers(process):
            now = time.monotonic()
            if now - process.began > self.spec.ready_timeout:
                reason = f"was not ready after {now - process.began:.0f} s"
                raise await self._failed(process, reason)
            if now - said >= _PROGRESS_EVERY:
                said = now
                so_far = f"{now - process.began:.0f} s"
                self._console.say(f"{self.spec.name}: still starting ({so_far}) …")
            await process.ended_within(_READY_POLL)
        took = time.monotonic() - process.began
        self._console.say(f"{self.spec.name}: ready after {took:.1f} s")

    async def _answers(self, process: Process) -> bool:
        """Whether it is ready now.

        Raises:
            StartFailed: it has exited.
        """
        if process.returncode is not None:
            raise await self._failed(process, _ended(process.returncode))
        return await process.is_ready()

    async def _failed(self, process: Process, reason: str) -> StartFailed:
        await process.clean_up()
        tail: Sequence[str] = process.tail
        return StartFailed(self.spec.name, reason, tail)

    def _set_ready(self, ready: bool) -> None:
        self.ready = ready
        self._on_change()


def _ended(code: int) -> str:
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
