"""The process: follow the control plane, keep what was quiet for a moment, serve it when asked.

What it serves and keeps is what the control plane sent and did not take back at once: a revision
that an Envoy refuses is gone again within milliseconds. An Envoy that asks here goes on to the
control plane as soon as that has told this process everything, and Envoy has it: then nothing that
was removed meanwhile stays in Envoy, which does not tell the control plane what it has from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc.aio

from control_plane.compile.model import Compiled
from control_plane.failover._mirror import Mirror
from control_plane.failover._snapshot import Snapshot
from control_plane.xds import SERVER_OPTIONS, Gate, Hub
from ext_proc import ads_grpc
from ext_proc.errors import SnapshotRefused
from ext_proc.process import stop_on_signals
from ext_proc.sealed import Keeper, SealedFile, read_key
from ext_proc.tls import TlsFiles

log = logging.getLogger("naru.failover")

QUIET: Final = 0.5
"""Seconds without another response, after which what came is taken for good."""
_LONGEST: Final = 10.0
"""Seconds of changes without a pause, after which it is taken all the same."""
_APPLY: Final = 5.0  # seconds that an Envoy gets to take the newest before it is sent away
_POLLS: Final = 100
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 60.0
"""Seconds between two times that an Envoy is sent away: it may not reach what is reached here."""
_LAST_WORDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class FailoverSettings:
    """All that the process is told.

    Attributes:
        socket: path of the Unix socket that Envoy asks at; its directory exists.
        xds_address: `host:port` of the control plane's ADS.
        state_file: where the last known good is kept, sealed with the key in `key_file` (32 bytes
            in base64).
        node_id: by which the control plane's log knows it; the file belongs to it.
        tls: what to show to the control plane, and what to ask of it; None: plain text.
    """

    socket: Path
    xds_address: str
    state_file: Path
    key_file: Path
    node_id: str = "failover"
    tls: TlsFiles | None = None


async def run(
    settings: FailoverSettings,
    *,
    stop: asyncio.Event | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT, or until `stop` is set if it is given.

    Raises:
        OSError: the socket cannot be opened.
    """
    if stop is None:
        stop = asyncio.Event()
        stop_on_signals(stop)
    failover = _Failover(settings)
    await failover.restore()
    server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=(failover.gate,))
    failover.hub.register(server)
    _listen(server, settings.socket)
    await server.start()
    ready()
    async with _background(stop, *failover.work()):
        await stop.wait()
    await failover.flush()
    await server.stop(_LAST_WORDS)


class _Failover:
    """The parts of the process and what they tell each other."""

    def __init__(self, settings: FailoverSettings) -> None:
        self.hub = Hub(linger=0.0, patience=_APPLY)
        self.gate = Gate(lambda: self._good is not None)
        self._address = settings.xds_address
        self._tls = settings.tls
        self._mirror = Mirror(settings.node_id)
        self._snapshot = _open_snapshot(settings)
        self._keeper = Keeper[Compiled](self._snapshot, self._known) if self._snapshot else None
        self._good: Compiled | None = None
        self._taken = 0  # of the mirror's changes
        self._news = asyncio.Event()
        self._live = asyncio.Event()  # what is served is what the control plane serves now

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What goes on until the process ends."""
        follow = ads_grpc.run(
            self._address,
            self._mirror,
            on_response=self._news.set,
            on_end=self._ended,
            tls=self._tls,
        )
        keep = [self._keeper.run()] if self._keeper else []
        return [follow, self._settle(), self._send_away(), *keep]

    async def restore(self) -> None:
        """Begin with what the last process kept."""
        if self._snapshot is None:
            return
        try:
            kept = await asyncio.to_thread(self._snapshot.read)
            if kept is not None:
                self._mirror.restore(kept)
                self._serve()
                log.info("the last known good is at hand: %s", self._snapshot.path)
        except SnapshotRefused as error:
            log.error("the snapshot %s is not used: %s", self._snapshot.path, error)

    async def flush(self) -> None:
        if self._keeper is not None:
            await self._keeper.flush()

    def _ended(self) -> None:
        self._live.clear()
        self._mirror.ended()

    async def _settle(self) -> None:
        """Take what came once it is whole, and nothing has followed for a moment."""
        while True:
            await self._news.wait()
            await self._quiet()
            if not self._mirror.whole:
                continue
            if self._mirror.changes != self._taken or self._good is None:
                self._serve()
                if self._keeper is not None:
                    self._keeper.changed()
            self._live.set()

    async def _quiet(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST):
                while await self._more_comes():
                    pass

    async def _more_comes(self) -> bool:
        self._news.clear()
        try:
            async with asyncio.timeout(QUIET):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _serve(self) -> None:
        revision = self._good.revision + 1 if self._good else 1
        self._good, self._taken = self._mirror.compiled(revision), self._mirror.changes
        self.hub.set_target(self._good)

    async def _send_away(self) -> None:
        """Send an Envoy to the control plane, which is there; ever more seldom if it comes back."""
        pause, clock = _FIRST_PAUSE, asyncio.get_running_loop().time
        while True:
            began = clock()
            await self.gate.occupied.wait()
            if clock() - began > _LAST_PAUSE:
                pause = _FIRST_PAUSE
            log.warning("Envoy starts from the last known good: no control plane answered it")
            await self._live.wait()
            await self._applied()
            log.info("the control plane is there: Envoy goes on to it")
            self.gate.end()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    async def _applied(self) -> None:
        """Until Envoy has the newest, and nothing else; not for ever, for it may refuse it."""
        assert self._good is not None
        await self.hub.wait(self._good.revision, _APPLY)
        for _ in range(_POLLS):
            nodes = self.hub.ledger.nodes()
            if not any(state.pending for node in nodes for state in node.types.values()):
                break
            await asyncio.sleep(_APPLY / _POLLS)

    def _known(self) -> Compiled:
        assert self._good is not None
        return self._good


def _listen(server: grpc.aio.Server, path: Path) -> None:
    """At a path that may be left from a process that was killed; for nobody but this user."""
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise OSError(f"cannot listen on {path}") from error
    finally:
        os.umask(before)


def _open_snapshot(settings: FailoverSettings) -> Snapshot | None:
    try:
        key = read_key(settings.key_file)
    except SnapshotRefused as error:
        log.error("no snapshot is read or written: %s", error)
        return None
    return Snapshot(SealedFile(settings.state_file, settings.node_id, key))


@contextlib.asynccontextmanager
async def _background(
    stop: asyncio.Event, *works: Coroutine[Any, Any, None]
) -> AsyncIterator[None]:
    """Run them meanwhile, and cancel them afterwards. If one fails, the process stops."""
    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if error is not None and not isinstance(error, asyncio.CancelledError):
            raise error
