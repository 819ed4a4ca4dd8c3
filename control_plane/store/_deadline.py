"""One time limit over several waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from control_plane.store.errors import StoreUnavailable


class Deadline:
    """`seconds` from now, by the running loop's clock."""

    def __init__(self, seconds: float) -> None:
        self._clock = asyncio.get_running_loop().time
        self._end = self._clock() + seconds

    @property
    def left(self) -> float:
        """Seconds, never below 0."""
        return max(0.0, self._end - self._clock())

    @asynccontextmanager
    async def turn(self, lock: asyncio.Lock) -> AsyncIterator[None]:
        """Holds the lock; raises `StoreUnavailable` if it is not free in time."""
        try:
            async with asyncio.timeout(self.left):
                await lock.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("earlier writes are still waiting for etcd: retry") from error
        try:
            yield
        finally:
            lock.release()
