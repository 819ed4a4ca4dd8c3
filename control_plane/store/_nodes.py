"""The nodes' keys: values that vanish with their writer, and that every replica follows.

They lie outside of the range that the reflector follows, and are not guarded: the last writer of a
key owns it. A writer's keys are under one lease, which etcd ends when it has not been renewed for
`TTL` seconds; it is made anew after that, and then the writer must put all its values again.

What the values mean is not known here.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from typing import Final

from control_plane.store import _wire
from control_plane.store._client import EtcdClient, ListExpired
from control_plane.store._layout import Layout
from control_plane.store._nodes_state import Changed, NodesState
from control_plane.store._records import Created, Record
from control_plane.store.errors import StoreError

log = logging.getLogger(__name__)

TTL: Final = 10
"""Seconds, as etcd counts them, from the last sign of life of a replica to the end of its keys."""
RENEWALS: Final = 3
"""In that time."""
CALL_TIMEOUT: Final = 2.0
FIRST_DELAY, LONGEST_DELAY = 0.05, 1.0


class NodeKeys:
    """See the module. `most` is how many keys go into one transaction."""

    def __init__(
        self,
        client: EtcdClient,
        layout: Layout,
        *,
        most: int = 128,
        silence: float = 5.0,
        page_size: int = 500,
    ) -> None:
        self._client = client
        self._layout = layout
        self._most = most
        self._silence = silence
        self._page_size = page_size
        self._state = NodesState()
        self._lease: int | None = None
        self._delay = FIRST_DELAY
        self.written = 0
        """Bytes of keys and values put so far."""

    async def put(self, values: Mapping[str, bytes]) -> bool:
        """Puts values by node; false if what was put earlier may be gone with its lease.

        Raises:
            StoreError: etcd does not answer; some of it may have been put.
        """
        new = self._lease is None
        lease = await self._leased()
        keys = [(self._layout.node(node), value) for node, value in values.items()]
        for first in range(0, len(keys), self._most):
            puts = dict(keys[first : first + self._most])
            try:
                await self._client.send(_wire.leased_puts(puts, lease), CALL_TIMEOUT)
            except StoreError:
                self._lease = None  # perhaps because the lease has ended
                raise
            self.written += sum(len(key) + len(value) for key, value in puts.items())
        return not new

    async def delete(self, nodes: Collection[str]) -> None:
        """Deletes those of the keys that are still this writer's.

        Raises:
            StoreError: etcd does not answer; they go with the lease.
        """
        if self._lease is None:
            return
        for node in sorted(nodes):
            request = _wire.leased_delete(self._layout.node(node), self._lease)
            await self._client.send(request, CALL_TIMEOUT)

    async def keep(self, lost: Callable[[], None]) -> None:
        """Renews the lease until cancelled; `lost` is called when there is none any more."""
        while True:
            await asyncio.sleep(TTL / RENEWALS)
            lease, endpoint = self._lease, self._client.endpoint
            try:
                if lease is None or await self._client.keep_alive(lease, CALL_TIMEOUT):
                    continue
            except StoreError:  # the reflector says what is wrong
                self._client.rotate(endpoint)
                continue
            if self._lease == lease:
                self._lease = None
            lost()

    async def follow(
        self, changed: Callable[[Changed], None], stands: Callable[[bool], None]
    ) -> None:
        """Tells every change of any node's value, by raw key, until cancelled; the first time all.

        `stands` is told when etcd is followed, and when it is not any more.
        """
        self._delay = FIRST_DELAY
        while True:
            endpoint = self._client.endpoint
            try:
                await self._follow(changed, stands)
            except ListExpired:
                pass
            except StoreError as error:  # the reflector says it loudly
                log.debug("the nodes are not followed: %s", error.message)
                self._client.rotate(endpoint)
            except Exception:  # a dead follower would be a silent one
                log.exception("following the nodes failed")
                self._client.rotate(endpoint)
            stands(False)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # grpc.aio swallows a cancellation that comes while it prepares a call
                raise asyncio.CancelledError
            await asyncio.sleep(self._delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            self._delay = min(self._delay * 2, LONGEST_DELAY)

    async def _follow(
        self, changed: Callable[[Changed], None], stands: Callable[[bool], None]
    ) -> None:
        await self._client.ready(self._silence)
        if self._state.position is None:
            changed(await self._list())
        start, end = self._layout.nodes
        position = self._state.position
        assert position is not None
        async with aclosing(self._client.watch(start, end, position, self._silence)) as messages:
            async for message in messages:
                if news := self._state.receive(message):
                    changed(news)
                if self._state.position is None:
                    return
                if isinstance(message, Created):
                    self._delay = FIRST_DELAY
                    stands(True)

    async def _list(self) -> Changed:
        (start, end), revision = self._layout.nodes, 0
        records: list[Record] = []
        while True:
            page = await self._client.page(start, end, revision, self._page_size, CALL_TIMEOUT)
            records += page.records
            revision = page.revision
            if not page.more or not page.records:
                return self._state.listed(page.cluster, revision, records)
            start = page.records[-1].key + b"\0"

    async def _leased(self) -> int:
        if self._lease is None:
            await self._client.ready(CALL_TIMEOUT)
            self._lease = await self._client.grant(TTL, CALL_TIMEOUT)
        return self._lease
