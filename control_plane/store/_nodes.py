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
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from itertools import batched
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
        self.written = 0
        """Bytes of keys and values put so far."""

    async def put(self, values: Mapping[str, bytes]) -> bool:
        """Puts values by node; false if what was put earlier may be gone with its lease.

        Raises:
            StoreError: etcd does not answer; some of it may have been put.
        """
        new = self._lease is None
        lease = await self._leased()
        for part in _parts(list(values.items()), self._most):
            puts = {self._layout.node(node): value for node, value in part}
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
        delay = FIRST_DELAY
        while True:
            endpoint, standing = self._client.endpoint, False
            try:
                async for standing in self._followed(changed):
                    delay = FIRST_DELAY
                    stands(standing)
            except ListExpired:
                pass
            except StoreError as error:
                log.debug("the nodes are not followed: %s", error.message)
                self._client.rotate(endpoint)
            stands(False)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # grpc.aio swallows a cancellation that comes while it prepares a call
                raise asyncio.CancelledError
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
            delay = min(delay * 2, LONGEST_DELAY)
