"""The audit trail read back from a real etcd: in order, page by page, by time."""

from __future__ import annotations

import pytest

from control_plane.store import Changes, Store, StoreUnavailable
from tests.support.etcd import EtcdProcess
from tests.support.stores import running

pytestmark = pytest.mark.anyio
END = 10**13 - 1


async def write(store: Store, number: int) -> int:
    record = {"tokens/t": str(number).encode()}
    return await store.commit(lambda _: Changes(records=record, audit=f"{number}".encode()))


async def test_pages(store: Store) -> None:
    revisions = [await write(store, i) for i in range(5)]
    found, after = [], None
    while True:
        page = await store.audit(0, END, after, 2)
        assert len(page.entries) <= 2
        found += page.entries
        after = found[-1].name
        if not page.more:
            break
    assert [entry.value for entry in found] == [b"0", b"1", b"2", b"3", b"4"]
    assert [entry.revision for entry in found] == revisions
    assert (await store.audit(0, END, after, 2)).entries == ()


async def test_spans_of_time(store: Store) -> None:
    for i in range(3):
        await write(store, i)
    names = [entry.name for entry in (await store.audit(0, END, None, 10)).entries]
    first = int(names[0].split("-")[0])
    assert (await store.audit(0, first, None, 10)).entries == ()
    assert [e.name for e in (await store.audit(first, END, None, 10)).entries] == names
    assert (await store.audit(END, END, None, 10)).entries == ()
    assert (await store.audit(END, 0, names[0], 10)).entries == ()


async def test_another_products_trail_is_not_ours(store: Store, shared_etcd: EtcdProcess) -> None:
    await write(store, 1)
    async with running(shared_etcd.endpoint, prefix="/another") as another:
        assert (await another.audit(0, END, None, 10)).entries == ()


async def test_etcd_away(own_etcd: EtcdProcess) -> None:
    async with running(own_etcd.endpoint, prefix="/away") as store:
        await write(store, 1)
        own_etcd.kill()
        with pytest.raises(StoreUnavailable):
            await store.audit(0, END, None, 10)
