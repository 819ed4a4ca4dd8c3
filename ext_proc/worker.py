"""A worker: one process that gets its plans over ADS and answers Envoy on one socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ext_proc import ads_grpc
from ext_proc._snapshot import Snapshot
from ext_proc.ads import PLAN, SECRET, DeltaClient
from ext_proc.errors import SnapshotRefused
from ext_proc.plans import PlanTable
from ext_proc.process import stop_on_signals
from ext_proc.sealed import Keeper, read_key
from ext_proc.stream import RequestStream
from ext_proc.tls import TlsFiles
from ext_proc.transport import TRANSPORTS, adopt

log = logging.getLogger(__name__)

_QUIET = 0.2  # seconds without another part, after which a large set of plans is taken for whole


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """All that a worker is told.

    Attributes:
        socket: path of the Unix socket; its directory exists. At most 107 bytes.
        listener: file descriptor of the socket if it is open already: whoever opened it keeps it,
            so that what connects while this worker is restarted waits instead of being refused.
        xds_address: `host:port` of the control plane's ADS.
        node_id: by which the control plane knows this worker; unique among the connected ones, but
            for the process that it replaces, which then finishes what it has, and ends.
        transport: a name from `ext_proc.transport.TRANSPORTS`.
        state_dir: where the worker keeps what it knew last, sealed with the key in
            `state_key_file` (32 bytes in base64), to start from while the control plane is away.
        tls: what to show to the control plane, and what to ask of it; None: plain text.
        patience: seconds to wait for the first plans before the socket opens without them; until
            they come, every request is answered with 503 `plan_unavailable`.
        grace: seconds that open streams get to finish after SIGTERM.
    """

    socket: Path
    xds_address: str
    node_id: str
    transport: str = "native"
    listener: int | None = None
    state_dir: Path | None = None
    state_key_file: Path | None = None
    tls: TlsFiles | None = None
    patience: float = 5.0
    grace: float = 10.0


class Holder:
    """Where the current table is: swapped by one reference, and a stream keeps the one it took."""

    def __init__(self) -> None:
        self.table = PlanTable()

    def apply_plans(self, updates: Mapping[str, bytes], removed: Collection[str]) -> None:
        """See `ext_proc.ads.Apply`."""
        self.table = self.table.with_plans(updates, removed)

    def apply_secrets(self, updates: Mapping[str, bytes], removed: Collection[str]) -> None:
        """See `ext_proc.ads.Apply`."""
        self.table = self.table.with_secrets(updates, removed)

    def open(self) -> RequestStream:
        """A stream that is handled by the table of this moment."""
        return RequestStream(self.table)


async def run_worker(
    settings: WorkerSettings,
    *,
    stop: asyncio.Event | None = None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT, or until `stop` is set if it is given; then drain and return.

    `ready` is called when the socket accepts connections.

    Raises:
        OSError: the socket cannot be opened.
    """
    if stop is None:
        stop = asyncio.Event()
        stop_on_signals(stop)
    listener = None if settings.listener is None else adopt(settings.listener)
    holder = Holder()
    transport = TRANSPORTS[settings.transport](holder.open)
    source = _Source(settings, holder)
    async with _background(source.follow(), stop):
        async with _background(source.keep(), stop):
            await _either(source.complete(), stop.wait(), timeout=settings.patience)
            if stop.is_set():
                return
            await transport.start(settings.socket, listener)
            log.info("serving %d plans on %s", len(holder.table.plans), settings.socket)
            ready()
            await stop.wait()
        # Once it drains, the snapshot is its successor's: that may know something newer.
        await source.flush()
        await transport.drain(settings.grace)


class _Source:
    """Where the plans come from: the control plane, or the snapshot while that is away at first."""

    def __init__(self, settings: WorkerSettings, holder: Holder) -> None:
        self._address = settings.xds_address
        self._tls = settings.tls
        self._snapshot = _open_snapshot(settings)
        self._silence = settings.patience / 2
        # secrets first, so that a plan does not arrive before the secret that it names
        self._client = DeltaClient(
            settings.node_id,
            {SECRET: holder.apply_secrets, PLAN: holder.apply_plans},
            keep=self._snapshot is not None,
        )
        self._keeper = Keeper(self._snapshot, self._client.known) if self._snapshot else None
        self._news = asyncio.Event()

    async def follow(self) -> None:
        """Take what the control plane sends, until cancelled."""
        await ads_grpc.run(
            self._address,
            self._client,
            on_response=self._on_response,
            fallback=self._restore if self._snapshot else None,
            silence=self._silence,
            tls=self._tls,
        )

    async def complete(self) -> None:
        """Wait until all plans and secrets are there."""
        while not self._client.synced:
            await self._next()
        with contextlib.suppress(TimeoutError):
            while self._client.more_may_follow:
                async with asyncio.timeout(_QUIET):
                    await self._next()

    async def keep(self) -> None:
        """Write snapshots, until cancelled."""
        if self._keeper is not None:
            await self._keeper.run()
        await asyncio.Future()

    async def flush(self) -> None:
        if self._keeper is not None:
            await self._keeper.flush()

    def _on_response(self) -> None:
        self._news.set()
        if self._keeper is not None and self._client.synced:  # a part would replace the whole
            self._keeper.changed()

    async def _next(self) -> None:
        self._news.clear()
        await self._news.wait()

    async def _restore(self) -> None:
        """Begin with the snapshot: the control plane is away, and the connection not yet made anew,
        which will tell it what is known here, so that it takes away what is gone."""
        assert self._snapshot is not None
        try:
            known = await asyncio.to_thread(self._snapshot.read)
            if known is not None:
                self._client.restore(known)
                log.warning("no control plane: starting from the snapshot %s", self._snapshot.path)
        except SnapshotRefused as error:
            log.error("the snapshot %s is not used: %s", self._snapshot.path, error)
        self._news.set()


def _open_snapshot(settings: WorkerSettings) -> Snapshot | None:
    if settings.state_dir is None or settings.state_key_file is None:
        return None
    try:
        key = read_key(settings.state_key_file)
    except SnapshotRefused as error:
        log.error("no snapshot is read or written: %s", error)
        return None
    return Snapshot(settings.state_dir / f"{settings.node_id}.lkg", settings.node_id, key)


async def _either(*waits: Coroutine[Any, Any, object], timeout: float) -> None:
    """Wait until one of several things has happened, or the time is up."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


@contextlib.asynccontextmanager
async def _background(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> AsyncIterator[None]:
    """Run `work` meanwhile, and cancel it afterwards. If it fails, the worker stops and raises."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda _: stop.set())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
