"""The supervisor: starts the parts in order, keeps them up, tells where they are, stops them.

    etcd → control plane → failover, ext_proc → Envoy              start: each waits for the last
    Envoy (drains) → failover → ext_proc → control plane → etcd    stop: the other way round

What takes long to start (a local model) starts first and is waited for last. This module knows
nothing of the parts themselves: `system.py` says what they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from naru.up.child import Child, ChildSpec
from naru.up.console import Console
from naru.up.control import Tell
from naru.up.errors import UpError

DATA_PLANE = ("ext_proc", "envoy")
"""Groups without which no request succeeds."""

_STOP_ORDER = ("envoy", "failover", "ext_proc", "bentos", "control_plane", "etcd")
_SAY_AFTER = 5.0
_LIVE_POLL = 0.05


@dataclass(frozen=True, slots=True)
class System:
    """What is supervised.

    `obstacles` says what keeps a request from succeeding, nothing if nothing does; `publish` is
    told of every change (the children, whether a request can succeed). `prepare` runs once, before
    that is first said, `on_ready` right after.
    """

    early: Sequence[ChildSpec]
    stages: Sequence[Sequence[ChildSpec]]
    obstacles: Callable[[], Awaitable[list[str]]]
    publish: Callable[[Sequence[Child], bool], None]
    prepare: Callable[[], Awaitable[None]]
    on_ready: Callable[[], Awaitable[None]]


class Supervisor:
    """One run. `stop` and `hurry` are set from outside: stop gracefully, stop now."""

    def __init__(
        self, system: System, console: Console, stop: asyncio.Event, hurry: asyncio.Event
    ) -> None:
        self._system = system
        self._console = console
        self._stop = stop
        self._hurry = hurry
        self._children: list[Child] = []
        self._changed = asyncio.Event()
        self._live = False
        self._replacing = asyncio.Lock()
        self._commands: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Start everything, serve until `stop`, stop everything.

        Raises:
            UpError: something cannot start. What had started is stopped first.
        """
        try:
            await self._until_stopped(self._start_and_serve())
        finally:
            for command in self._commands:
                command.cancel()
            await asyncio.gather(*self._commands, return_exceptions=True)
            await self._stop_all()

    async def replace(self, group: str, tell: Tell) -> None:
        """Replace the processes of a group, one after the other, and tell of each.

        After one that does not come up the rest is left alone: it would fare no better. Whoever
        asked may go away meanwhile: a group that is half old, half new helps nobody.
        """
        task = asyncio.current_task()
        assert task is not None
        self._commands.add(task)
        try:
            async with self._replacing:
                for child in [child for child in self._children if child.spec.group == group]:
                    line = await self._replaced(child)
                    with contextlib.suppress(OSError):
                        await tell(line)
        except UpError as error:
            self._console.say(str(error))
            with contextlib.suppress(OSError):
                await tell({"error": str(error)})
        finally:
            self._commands.discard(task)

    async def _replaced(self, child: Child) -> dict[str, Any]:
        old, began = child.pid, time.monotonic()
        ended = await child.replace(self._hurry)
        took = round(time.monotonic() - began, 3)
        line = {"name": child.spec.name, "old": old, "new": child.pid, "seconds": took}
        return line if ended else line | {"finishing": True}

    async def _start_and_serve(self) -> None:
        early = await self._launch(self._system.early)
        for stage in self._system.stages:
            await self._wait_ready(await self._launch(stage))
        await self._until_passable()
        await self._wait_ready(early)
        await self._system.prepare()
        await self._until_live()
        await self._system.on_ready()
        await self._keep_live()

    async def _launch(self, specs: Sequence[ChildSpec]) -> list[Child]:
        children = [Child(spec, self._console, self._on_change) for spec in specs]
        for child in children:
            self._children.append(child)
            await child.launch()
        return children

    async def _wait_ready(self, children: Sequence[Child]) -> None:
        for child in children:
            await child.first_ready()

    async def _keep_live(self) -> None:
        """For ever: once the data plane is up again, find out when requests succeed again."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not self._live and self._data_plane_is_up():
                await self._until_live()

    async def _until_live(self) -> None:
        await self._until_passable()
        self._live = True
        self._publish()

    async def _until_passable(self) -> None:
        """Wait until nothing stands in a request's way, and say what does if it lasts.

        It may last for ever: a configuration that cannot be applied must not keep the control plane
        down, with which its author mends it.
        """
        said: list[str] = []
        say_from = asyncio.get_running_loop().time() + _SAY_AFTER
        while True:
            reasons = await self._system.obstacles()
            if not reasons and self._data_plane_is_up():
                return
            if reasons != said and asyncio.get_running_loop().time() >= say_from:
                said = reasons
                self._console.say(f"not ready: {'; '.join(reasons)}")
            await asyncio.sleep(_LIVE_POLL)

    def _data_plane_is_up(self) -> bool:
        return all(child.ready for child in self._children if child.spec.group in DATA_PLANE)

    def _on_change(self) -> None:
        if self._live and not self._data_plane_is_up():
            self._live = False
        self._changed.set()
        self._publish()

    def _publish(self) -> None:
        try:
            self._system.publish(self._children, self._live)
        except OSError as error:  # a full disk must not end the supervision
            self._console.say(f"cannot tell where things are: {error}")

    async def _stop_all(self) -> None:
        self._live = False
        self._publish()
        self._console.say("stopping …")
        for group in _STOP_ORDER:
            members = [child for child in self._children if child.spec.group == group]
            ended = await asyncio.gather(
                *(child.stop(self._hurry) for child in members), return_exceptions=True
            )
            for error in filter(None, ended):
                self._console.say(f"{group}: did not stop cleanly: {error}")
        self._console.say("stopped")

    async def _until_stopped(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` until it ends or `stop` is set."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
