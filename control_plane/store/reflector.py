"""The reflector: keeps the newest snapshot of etcd at hand, for readers that never wait for etcd.

A thin shell around `_state.py`: list at one revision, page by page, watch from the next, and begin
again wherever the state says so, over all endpoints in turn, with a back-off. While etcd is away
the last snapshot stays; `trouble` says why it may be old.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Final

from control_plane.store._client import EtcdClient, ListExpired
from control_plane.store._layout import Layout
from control_plane.store._lkg import Kept
from control_plane.store._records import Created, Page, Record
from control_plane.store._state import Decode, ReflectorState
from control_plane.store.errors import StoreError, StoreUnavailable
from control_plane.store.model import Snapshot, StoredProblem

log = logging.getLogger(__name__)

CALL_TIMEOUT: Final = 5.0
FIRST_DELAY, LONGEST_DELAY = 0.05, 1.0


class Reflector:
    """See the module.

    `silence` (seconds) is how long a quiet watch is trusted before it is probed; `page_size` is in
    keys.
    """

    def __init__(
        self,
        client: EtcdClient,
        decode: Decode,
        layout: Layout | None = None,
        *,
        page_size: int = 500,
        silence: float = 5.0,
    ) -> None:
        self._client = client
        self._layout = layout or Layout()
        self._state = ReflectorState(self._layout, decode)
        self._page_size = page_size
        self._silence = silence
        self._delay = FIRST_DELAY
        self._changed = asyncio.Event()
        self._reading = asyncio.Lock()
        self._logged: Mapping[str, StoredProblem] = {}
        self.snapshot = Snapshot()
        """The newest state known; empty until `synced`."""
        self.synced = False
        """Whether there is a state: etcd was listed at least once, or one was restored."""
        self.restored: Kept | None = None
        """What `snapshot` was restored from, until etcd itself has been listed."""
        self.connected = False
        """Whether a watch stands."""
        self.trouble: str | None = "etcd has not been read yet"
        """Why the snapshot may be old; `None` while a watch stands."""

    @property
    def problems(self) -> Mapping[str, StoredProblem]:
        """Stored documents that cannot be read and are kept out of the snapshot."""
        return self._state.problems

    def kept(self) -> Kept:
        """All that `restore` needs, in another process."""
        state = self._state
        return Kept.of(state.cluster, state.snapshot.revision, list(state.raw.values()))

    async def restore(self, kept: Kept) -> bool:
        """Begins with what an earlier process knew; false if etcd has been listed meanwhile.

        A listing whose first page is there is waited for: what etcd has goes before what it had.
        """
        async with self._reading:
            if self.synced:
                return False
            snapshot = await asyncio.to_thread(self._restore, kept)
            self.restored = kept
            self._publish(snapshot)
        return True

    async def run(self) -> None:
        """Follows etcd until it is cancelled; every failure of etcd is survived."""
        try:
            while True:
                endpoint = self._client.endpoint
                try:
                    await self._follow()
                except ListExpired:
                    log.info("etcd was compacted during a listing: listing again")
                except StoreError as error:
                    self._failed(error.message)
                    self._client.rotate(endpoint)
                except Exception as error:  # a dead reflector would be a silent one
                    log.exception("following etcd failed")
                    self._failed(f"following etcd failed with {type(error).__name__}: see the log")
                    self._client.rotate(endpoint)
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    # grpc.aio swallows a cancellation that comes while it prepares a call
                    raise asyncio.CancelledError
                await self._back_off()
        finally:
            self.connected, self.trouble = False, "the reflector is stopped"

    async def wait_for(self, revision: int, timeout: float) -> Snapshot:
        """The first snapshot seen at `revision` (etcd's) or later, within `timeout` seconds.

        Raises `StoreUnavailable` when it does not come.
        """
        return await self.wait_until(lambda snapshot: snapshot.revision >= revision, timeout)

    async def wait_until(self, holds: Callable[[Snapshot], bool], timeout: float) -> Snapshot:
        """The first snapshot seen for which `holds`; see `wait_for`."""
        try:
            async with asyncio.timeout(timeout), aclosing(self.subscribe()) as snapshots:
                async for snapshot in snapshots:
                    if holds(snapshot):
                        return snapshot
        except TimeoutError as error:
            reason = self.trouble or "the change has not been seen yet"
            raise StoreUnavailable(f"waited {timeout:.1f} s for etcd: {reason}") from error
        raise AssertionError("a subscription never ends")

    async def subscribe(self) -> AsyncGenerator[Snapshot, None]:
        """The present snapshot (once there is one), then each newer; a slow reader skips some."""
        seen: Snapshot | None = None
        while True:
            changed, snapshot = self._changed, self.snapshot
            if self.synced and snapshot is not seen:
                seen = snapshot
                yield snapshot
            else:
                await changed.wait()

    async def _follow(self) -> None:
        await self._client.ready(self._silence)
        if self._state.position is None:
            await self._list()
        layout, position = self._layout, self._state.position
        assert position is not None
        messages = self._client.watch(layout.start, layout.end, position, self._silence)
        async with aclosing(messages):
            async for message in messages:
                self._publish(self._state.receive(message))
                if self._state.position is None:
                    log.info("the history that the watch needs is gone from etcd: listing again")
                    return
                if isinstance(message, Created):
                    self._stands()

    async def look_again(self) -> None:
        """Read everything again: what could not be opened may open now. Raises StoreError."""
        first = await self._page(self._layout.start)
        cluster, revision, records = await self._listing(first)
        async with self._reading:
            known = self.restored is None and self.synced
            if known and revision >= self.snapshot.revision:  # else the watch was faster
                self._publish(self._state.listed(cluster, revision, records))

    async def _list(self) -> None:
        first = await self._page(self._layout.start)
        async with self._reading:
            found = await self._listing(first)
            # Reading ten thousand documents takes seconds, in which others are to be served.
            listed = await asyncio.to_thread(self._state.listed, *found)
            self.restored = None
            self._publish(listed)

    def _restore(self, kept: Kept) -> Snapshot | None:
        return self._state.restore(kept.cluster, kept.revision, kept.restored())

    async def _listing(self, page: Page) -> tuple[int, int, list[Record]]:
        """The cluster, a revision, and everything that it has at that revision, from page one."""
        records = list(page.records)
        while page.more and page.records:
            page = await self._page(page.records[-1].key + b"\0", page.revision)
            records += page.records
        return page.cluster, page.revision, records

    async def _page(self, start: bytes, revision: int = 0) -> Page:
        end, size = self._layout.end, self._page_size
        return await self._client.page(start, end, revision, size, CALL_TIMEOUT)

    def _publish(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            # Only here, in the loop: a thread may be amid the next one.
            self.snapshot, self.synced = snapshot, True
            self._log_problems()
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def _stands(self) -> None:
        if not self.connected:
            revision = self.snapshot.revision
            log.info("following etcd at %s, revision %d", self._client.endpoint, revision)
        self.connected, self.trouble, self._delay = True, None, FIRST_DELAY

    def _failed(self, reason: str) -> None:
        if self.trouble != reason:
            log.warning("%s; the last state stays in use", reason)
        self.connected, self.trouble = False, reason

    async def _back_off(self) -> None:
        await asyncio.sleep(self._delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
        self._delay = min(self._delay * 2, LONGEST_DELAY)

    def _log_problems(self) -> None:
        problems = self.problems
        for key, problem in problems.items():
            if self._logged.get(key) != problem:
                log.error("kept out: %s (revision %d)", problem.message, problem.revision)
        self._logged = problems
