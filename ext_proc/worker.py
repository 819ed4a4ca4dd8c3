"""A worker: one process that gets its plans over ADS and answers Envoy on one socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ext_proc import _ads_grpc
from ext_proc.ads import PLAN, SECRET, DeltaClient
from ext_proc.plans import PlanTable
from ext_proc.stream import RequestStream
from ext_proc.transport import TRANSPORTS, adopt

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """All that a worker is told.

    Attributes:
        socket: path of the Unix socket; its directory exists. At most 107 bytes.
        listener: file descriptor of the socket if it is open already: whoever opened it keeps it,
            so that what connects while this worker is restarted waits instead of being refused.
        xds_address: `host:port` of the control plane's ADS.
        node_id: by which the control plane knows this worker; unique among the connected ones, but
            for the process that it replaces, and that ends as soon as this one serves.
        transport: a name from `ext_proc.transport.TRANSPORTS`.
        patience: seconds to wait for the first plans before the socket opens without them; until
            they come, every request is answered with 503 `plan_unavailable`.
        grace: seconds that open streams get to finish after SIGTERM.
    """

    socket: Path
    xds_address: str
    node_id: str
    transport: str = "native"
    listener: int | None = None
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
        _on_signals(stop)
    listener = None if settings.listener is None else adopt(settings.listener)
    holder = Holder()
    # secrets first, so that a plan does not arrive before the secret that it names
    client = DeltaClient(settings.node_id, {SECRET: holder.apply_secrets, PLAN: holder.apply_plans})
    synced = asyncio.Event()
    plans = _ads_grpc.run(
        settings.xds_address, client, on_response=lambda: synced.set() if client.synced else None
    )
    transport = TRANSPORTS[settings.transport](holder.open)
    async with _background(plans, stop):
        await _either(synced, stop, timeout=settings.patience)
        if stop.is_set():
            return
        await transport.start(settings.socket, listener)
        log.info("serving %d plans on %s", len(holder.table.plans), settings.socket)
        ready()
        await stop.wait()
        await transport.drain(settings.grace)


async def _either(first: asyncio.Event, second: asyncio.Event, *, timeout: float) -> None:
    """Wait until one of two things has happened, or the time is up."""
    tasks = [asyncio.ensure_future(event.wait()) for event in (first, second)]
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


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
