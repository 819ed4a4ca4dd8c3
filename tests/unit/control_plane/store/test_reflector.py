"""The reflector's shell against a client that plays a script: failures that etcd rarely shows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from control_plane.resources import Key, Resource
from control_plane.store import Reflector, StoreUnavailable
from control_plane.store._client import ListExpired
from control_plane.store._lkg import Kept
from control_plane.store._records import Compacted, Created, Page, Record, WatchMessage
from control_plane.store._state import Decode
from tests.support.documents import credential
from tests.support.stores import until

pytestmark = pytest.mark.anyio


class ScriptedClient:
    """Plays pages and watches in order; an exception among them is raised. Then it stays silent."""

    def __init__(
        self, pages: Iterable[Page | Exception], watches: Iterable[list[WatchMessage | Exception]]
    ) -> None:
        self._pages, self._watches = iter(pages), iter(watches)
        self.asked: list[tuple[bytes, int]] = []
        self.watched: list[int] = []
        self.failed: list[str] = []
        self.endpoint = "etcd:1"
        self.goes_on = asyncio.Event()
        """Cleared: the next page but the first is on its way."""
        self.goes_on.set()

    def rotate(self, failed: str) -> None:
        self.failed.append(failed)

    async def ready(self, timeout: float) -> None:
        pass

    async def page(self, start: bytes, end: bytes, revision: int, limit: int, _: float) -> Page:
        self.asked.append((start, revision))
        if revision:
            await self.goes_on.wait()
        page = next(self._pages)
        if isinstance(page, Exception):
            raise page
        return page

    async def watch(
        self, start: bytes, end: bytes, revision: int, silence: float
    ) -> AsyncGenerator[WatchMessage, None]:
        self.watched.append(revision)
        for message in next(self._watches, []):
            if isinstance(message, Exception):
                raise message
            yield message
        await asyncio.Event().wait()


def record(name: str, modified: int) -> Record:
    return Record(f"/naru/v1/resources/credentials/{name}".encode(), b"", 2, modified, 1)


def decode(key: Key, raw: bytes) -> Resource:
    return credential(key.name)


@asynccontextmanager
async def following(client: ScriptedClient, read: Decode = decode) -> AsyncIterator[Reflector]:
    stand_in: Any = client
    reflector = Reflector(stand_in, read)
    task = asyncio.create_task(reflector.run())
    try:
        yield reflector
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_listing_whose_revision_expires_begins_again_from_its_first_page() -> None:
    client = ScriptedClient(
        [
            Page(1, 5, (record("a", 3),), more=True),
            ListExpired(),
            Page(1, 9, (record("b", 8),), more=True),
            Page(1, 9, (record("c", 9),), more=False),
        ],
        [[Created(1, 9)]],
    )
    async with following(client) as reflector:
        snapshot = await reflector.wait_for(9, 5)
    assert {key.name for key in snapshot.stored} == {"b", "c"}
    first, after_a, again, after_b = client.asked
    assert first == again == (b"/naru/v1/", 0)
    assert after_a == (record("a", 3).key + b"\0", 5)
    assert after_b == (record("b", 8).key + b"\0", 9)
    assert client.watched == [10]


async def test_a_watch_that_fails_is_taken_up_at_the_same_place_elsewhere() -> None:
    client = ScriptedClient(
        [Page(1, 5, (record("a", 3),), more=False)],
        [
            [Created(1, 5), StoreUnavailable("gone")],
            [StoreUnavailable("still gone")],
            [Created(1, 5)],
        ],
    )
    async with following(client) as reflector:
        async with asyncio.timeout(5):
            while len(client.watched) < 3 or not reflector.connected:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert reflector.trouble is None
    assert client.watched == [6, 6, 6]
    assert client.failed == ["etcd:1", "etcd:1"]
    assert len(client.asked) == 1
    assert "stopped" in str(reflector.trouble)


async def test_a_compacted_watch_lists_again() -> None:
    client = ScriptedClient(
        [
            Page(1, 5, (record("a", 3),), more=False),
            Page(1, 20, (record("b", 20),), more=False),
        ],
        [[Created(1, 15), Compacted(12)], [Created(1, 20)]],
    )
    async with following(client) as reflector:
        snapshot = await reflector.wait_for(20, 5)
    assert {key.name for key in snapshot.stored} == {"b"}
    assert client.failed == []


async def test_a_fault_of_our_own_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    client = ScriptedClient(
        [RuntimeError("a bug"), Page(1, 5, (record("a", 3),), more=False)], [[Created(1, 5)]]
    )
    async with following(client) as reflector:
        await reflector.wait_for(3, 5)
    assert "following etcd failed" in caplog.text


async def test_waiting_in_vain_says_why() -> None:
    client = ScriptedClient([StoreUnavailable("etcd is away")] * 99, [])
    async with following(client) as reflector:
        with pytest.raises(StoreUnavailable, match="etcd is away"):
            await reflector.wait_for(0, 0.2)
        assert not reflector.synced


OLD = Kept.of(1, 4, [record("old", 4)])
TWO_PAGES = (
    Page(1, 9, (record("b", 8),), more=True),
    Page(1, 9, (record("c", 9),), more=False),
)


def names(reflector: Reflector) -> set[str]:
    return {key.name for key in reflector.snapshot.stored}


async def test_what_was_kept_is_not_restored_once_a_page_has_come() -> None:
    client = ScriptedClient(TWO_PAGES, [[Created(1, 9)]])
    client.goes_on.clear()
    async with following(client) as reflector:
        await until(lambda: len(client.asked) == 2)
        restoring = asyncio.create_task(reflector.restore(OLD))
        await asyncio.sleep(0)
        assert not reflector.synced
        client.goes_on.set()
        assert not await restoring
        assert (names(reflector), reflector.restored) == ({"b", "c"}, None)
        await until(lambda: reflector.connected)
    assert len(client.asked) == 2, "listed once"


async def test_a_listing_that_is_being_read_is_not_disturbed() -> None:
    """Reading goes on in a thread, as long as this test wants."""
    reads, go_on = threading.Event(), threading.Event()

    def slowly(key: Key, raw: bytes) -> Resource:
        reads.set()
        assert go_on.wait(10)
        return decode(key, raw)

    client = ScriptedClient([Page(1, 9, (record("b", 9),), more=False)], [[Created(1, 9)]])
    async with following(client, slowly) as reflector:
        await until(reads.is_set)
        restoring = asyncio.create_task(reflector.restore(OLD))
        await asyncio.sleep(0)
        go_on.set()
        assert not await restoring
        assert names(reflector) == {"b"}
        await until(lambda: reflector.connected)
    assert len(client.asked) == 1, "listed once"
    assert client.failed == []


async def test_it_is_restored_when_the_listing_breaks_off() -> None:
    client = ScriptedClient([TWO_PAGES[0], StoreUnavailable("gone")], [])
    client.goes_on.clear()
    async with following(client) as reflector:
        await until(lambda: len(client.asked) == 2)
        restoring = asyncio.create_task(reflector.restore(OLD))
        await asyncio.sleep(0)
        client.goes_on.set()
        assert await restoring
        assert (names(reflector), reflector.restored) == ({"old"}, OLD)


async def test_what_was_kept_is_read_beside_the_loop() -> None:
    readers = set[int]()

    def noting(key: Key, raw: bytes) -> Resource:
        readers.add(threading.get_ident())
        return decode(key, raw)

    stand_in: Any = ScriptedClient([], [])
    reflector = Reflector(stand_in, noting)
    assert await reflector.restore(OLD)
    assert readers
    assert threading.get_ident() not in readers


def test_a_listing_that_expires_is_an_error_of_the_store() -> None:
    """`keys`, `rotate` and `audit` answer with it."""
    assert (ListExpired().status, ListExpired().code) == (503, "store_unavailable")
    assert isinstance(ListExpired(), StoreUnavailable)
