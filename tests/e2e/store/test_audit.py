"""The audit trail read back from a real etcd: in order, page by page, by time."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from control_plane.access import HEAD, ROOT, Act, Trail, written
from control_plane.store import Build, Changes, Snapshot, Store, StoreUnavailable
from tests.support.documents import KEY_A, KEY_B, credential
from tests.support.etcd import EtcdProcess
from tests.support.stores import running
from tests.support.tcp_proxy import TcpProxy

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


def kept(changes: Changes, why: str, snapshot: Snapshot) -> Changes:
    return written(snapshot, changes, Act(ROOT, "PUT", message=why), 1_800_000_000.0)


async def test_a_write_whose_answer_was_lost_leaves_one_entry(
    other: Store, shared_etcd: EtcdProcess, prefix: str
) -> None:
    async with (
        TcpProxy(shared_etcd.endpoint) as proxy,
        running(proxy.endpoint, prefix=prefix) as store,
    ):
        proxy.hold_answers()
        mine: Build = partial(kept, Changes({KEY_A: credential("a")}), "mine")
        write = asyncio.create_task(store.commit(mine))
        await other.reflector.wait_until(lambda snapshot: KEY_A in snapshot.stored, 5)
        await other.commit(partial(kept, Changes({KEY_B: credential("b")}), "theirs"))
        proxy.cut()
        proxy.heal()
        await write
    await whole(other, 2)


async def test_writers_at_once_make_one_chain(store: Store, other: Store) -> None:
    def change(number: int, snapshot: Snapshot) -> Changes:
        changes = Changes({KEY_A: credential("a", f"secret-{number}")})
        return kept(changes, str(number), snapshot)

    writes = [(store, other)[i % 2].commit(partial(change, i)) for i in range(20)]
    revisions = await asyncio.gather(*writes)
    newest = max(revisions)
    await other.reflector.wait_for(newest, 5)
    await whole(other, 20)
    entries = (await other.audit(0, END, None, 100)).entries
    assert sorted(entry.revision for entry in entries) == sorted(revisions)


async def whole(store: Store, count: int) -> None:
    trail = Trail()
    for entry in (await store.audit(0, END, None, 100)).entries:
        trail.add(entry.name, entry.value)
    found = trail.verified(store.snapshot.records[HEAD])
    assert (found.problems, found.entries, found.head[0]) == ((), count, count)
