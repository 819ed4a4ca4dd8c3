"""Following a real etcd: pages, batches, compaction, and documents that cannot be read."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from control_plane.resources import Resource
from control_plane.store import Snapshot, Store
from tests.support.documents import KEY_A, KEY_B, credential, upstream
from tests.support.etcd import EtcdProcess
from tests.support.stores import delete, every_snapshot, put, running, secrets_in, until
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.anyio


async def test_a_listing_of_many_pages_is_whole(
    store: Store, shared_etcd: EtcdProcess, prefix: str
) -> None:
    await put(store, *(credential(f"c{n}", f"secret-{n}") for n in range(20)), upstream("u", "c1"))
    for page_size in (1, 3, 22, 23, 500):
        async with running(shared_etcd.endpoint, prefix=prefix, page_size=page_size) as fresh:
            assert fresh.snapshot == store.snapshot


async def test_neighbours_are_not_seen(store: Store, shared_etcd: EtcdProcess, prefix: str) -> None:
    for name in (f"{prefix}0", f"{prefix}-x/resources/credentials/a", "/zzz"):
        await asyncio.to_thread(shared_etcd.ctl, "put", name, "x")
    await put(store, credential("b"))
    assert store.snapshot.stored.keys() == {KEY_B}
    assert not store.reflector.problems


async def test_a_snapshot_is_never_half_a_transaction(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = every_snapshot(monkeypatch, other)
    for number in range(100):
        revision = await put(store, *pair(number))
    await other.reflector.wait_for(revision, 5)
    assert all_pairs(seen)
    assert sorted({each.revision for each in seen}) == [each.revision for each in seen]


async def test_a_catch_up_of_thousands_of_revisions_loses_nothing(
    store: Store, shared_etcd: EtcdProcess, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comes in batches that are all stamped with the newest revision."""
    async with (
        TcpProxy(shared_etcd.endpoint) as proxy,
        running(proxy.endpoint, prefix=prefix) as behind,
    ):
        await put(store, credential("old"))
        await behind.reflector.wait_for(store.snapshot.revision, 5)
        seen = every_snapshot(monkeypatch, behind)
        proxy.isolate()
        for number in range(2_200):
            await put(store, *pair(number))
        await delete(store, credential("old").key)
        proxy.heal()
        assert await behind.reflector.wait_for(store.snapshot.revision, 10) == store.snapshot
        assert len(seen) > 1
        assert all_pairs(seen)


async def test_a_catch_up_may_be_larger_than_grpc_takes_by_default(
    store: Store, shared_etcd: EtcdProcess, prefix: str
) -> None:
    async with (
        TcpProxy(shared_etcd.endpoint) as proxy,
        running(proxy.endpoint, prefix=prefix) as behind,
    ):
        proxy.isolate()
        for number in range(8):
            await put(store, large(f"c{number}", 1_000_000))
        proxy.heal()
        assert await behind.reflector.wait_for(store.snapshot.revision, 10) == store.snapshot


async def test_a_compaction_while_away_leads_to_a_new_listing(
    store: Store,
    shared_etcd: EtcdProcess,
    prefix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        TcpProxy(shared_etcd.endpoint) as proxy,
        running(proxy.endpoint, prefix=prefix) as behind,
    ):
        revision = await put(store, credential("a", "1"), credential("b", "1"))
        before = await behind.reflector.wait_for(revision, 5)
        proxy.isolate()
        await delete(store, KEY_A)
        revision = await put(store, credential("c", "1"))
        await asyncio.to_thread(shared_etcd.ctl, "compact", str(revision))
        assert behind.snapshot is before
        proxy.heal()
        after = await behind.reflector.wait_for(revision, 10)
        assert secrets_in(after) == {"b": "1", "c": "1"}
        assert after == store.snapshot
        assert after.stored[KEY_B] is before.stored[KEY_B]
        assert "listing again" in caplog.text
        await delete(store, KEY_B)
        await behind.reflector.wait_for(store.snapshot.revision, 5)


async def test_a_quiet_watch_moves_on_so_that_a_compaction_costs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Progress notifications move the position while others write elsewhere."""
    caplog.set_level(logging.INFO)
    often = "--experimental-watch-progress-notify-interval=100ms"
    with EtcdProcess(tmp_path, [often]) as etcd:
        async with TcpProxy(etcd.endpoint) as proxy, running(proxy.endpoint) as store:
            newest = await put(store, credential("a"))
            for number in range(5):
                await asyncio.to_thread(etcd.ctl, "put", "/elsewhere", str(number))
                newest += 1
            await until(lambda: (store.reflector._state.position or 0) > newest)
            await asyncio.to_thread(etcd.ctl, "compact", str(newest))
            before = proxy.connections
            proxy.cut()
            await until(lambda: proxy.connections > before and store.reflector.connected)
            await put(store, credential("b"))
            assert secrets_in(store.snapshot).keys() == {"a", "b"}
            assert "listing again" not in caplog.text


async def test_a_document_that_cannot_be_read_stops_nothing(
    store: Store, shared_etcd: EtcdProcess, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    await put(store, credential("a"), credential("b"))
    raw_key = f"{prefix}/resources/credentials/a"
    await asyncio.to_thread(shared_etcd.ctl, "put", raw_key, '{"canary": 1}')
    await store.reflector.wait_until(lambda snapshot: KEY_A not in snapshot.stored, 5)
    assert store.reflector.problems["credentials/a"].code == "undecodable"
    assert "credentials/a" in caplog.text
    assert "canary" not in caplog.text
    await put(store, credential("c"))
    assert secrets_in(store.snapshot).keys() == {"b", "c"}
    await put(store, credential("a"))
    assert secrets_in(store.snapshot).keys() == {"a", "b", "c"}
    assert not store.reflector.problems


async def test_a_slow_reader_sees_the_newest_only(store: Store) -> None:
    reader = store.reflector.subscribe()
    assert (await anext(reader)).revision == 0
    for number in range(5):
        revision = await put(store, credential("a", str(number)))
    assert (await anext(reader)).revision == revision
    waiting = asyncio.ensure_future(anext(reader))
    revision = await put(store, credential("a", "last"))
    assert (await asyncio.wait_for(waiting, 5)).revision == revision
    await reader.aclose()


def pair(number: int) -> tuple[Resource, Resource]:
    return credential("a", f"v{number}"), credential("b", f"v{number}")


def all_pairs(snapshots: list[Snapshot]) -> bool:
    found = [secrets_in(snapshot) for snapshot in snapshots]
    return bool(found) and all(each.get("a") == each.get("b") for each in found)


def large(name: str, size: int) -> Resource:
    document = credential(name).to_document(reveal=True)
    document["metadata"]["annotations"] = {"note": "x" * size}
    return type(credential()).model_validate(document)
