"""Writes to a real etcd: what is checked holds when it is written, whoever else writes."""

from __future__ import annotations

import asyncio

import pytest

from control_plane.resources import InUse, Key, Problem, Resource, check_graph
from control_plane.store import (
    Changes,
    Conflict,
    Limits,
    Snapshot,
    Store,
    StoreUnavailable,
    TooLarge,
)
from tests.support.documents import KEY_A, KEY_B, credential, upstream
from tests.support.etcd import EtcdProcess
from tests.support.stores import before_each_write, delete, put, running, secrets_in

pytestmark = pytest.mark.anyio
KEY_U = Key("upstreams", "u")


class Dangling(Exception):
    """Raised by the builds below, as the API raises its own errors."""


def adds(resource: Resource):  # type: ignore[no-untyped-def]
    def build(snapshot: Snapshot) -> Changes:
        problems: tuple[Problem, ...] = check_graph({**snapshot.resources, resource.key: resource})
        if problems:
            raise Dangling(problems)
        return Changes({resource.key: resource})

    return build


def removes(key: Key):  # type: ignore[no-untyped-def]
    def build(snapshot: Snapshot) -> Changes:
        if snapshot.users.get(key):
            raise InUse(())
        return Changes(deletes=frozenset({key}))

    return build


async def test_a_write_is_seen_with_its_revisions_when_commit_returns(store: Store) -> None:
    first = await put(store, credential("a", "1"))
    second = await put(store, credential("a", "2"), upstream("u", "a"))
    assert store.snapshot.revision == second > first
    stored = store.snapshot.stored[KEY_A]
    assert (stored.created_revision, stored.revision) == (first, second)
    assert secrets_in(store.snapshot) == {"a": "2"}
    third = await delete(store, KEY_U)
    assert store.snapshot.revision == third
    assert store.snapshot.stored.keys() == {KEY_A}


async def test_another_process_sees_the_same(store: Store, other: Store) -> None:
    revision = await put(store, credential("a", "1"), upstream("u", "a"))
    assert await other.reflector.wait_for(revision, 5) == store.snapshot


async def test_empty_changes_write_nothing(store: Store) -> None:
    assert await store.commit(lambda _: Changes()) == 0
    revision = await put(store, credential())
    assert await store.commit(lambda _: Changes()) == revision
    assert store.snapshot.guard.version == 1


async def test_what_build_raises_passes_through_and_nothing_is_written(store: Store) -> None:
    with pytest.raises(Dangling):
        await store.commit(adds(upstream("u", "missing")))
    assert store.snapshot.revision == 0
    await put(store, credential())


async def test_a_delete_that_is_first_leaves_nothing_dangling(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(store, credential("a"))
    await other.reflector.wait_for(store.snapshot.revision, 5)
    before_each_write(monkeypatch, store, lambda: other.commit(removes(KEY_A)))
    with pytest.raises(Dangling):
        await store.commit(adds(upstream("u", "a")))
    assert not store.snapshot.stored


async def test_a_reference_that_is_first_stops_the_delete(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(store, credential("a"))
    await other.reflector.wait_for(store.snapshot.revision, 5)
    before_each_write(monkeypatch, other, lambda: store.commit(adds(upstream("u", "a"))))
    with pytest.raises(InUse):
        await other.commit(removes(KEY_A))
    assert other.snapshot.stored.keys() == {KEY_A, KEY_U}


async def test_many_races_never_leave_a_dangling_reference(store: Store, other: Store) -> None:
    for _ in range(25):
        revision = await put(store, credential("a"))
        await other.reflector.wait_for(revision, 5)
        added, removed = await asyncio.gather(
            store.commit(adds(upstream("u", "a"))),
            other.commit(removes(KEY_A)),
            return_exceptions=True,
        )
        assert isinstance(added, Dangling) != isinstance(removed, InUse)
        newest = max(each for each in (added, removed) if isinstance(each, int))
        snapshot = await store.reflector.wait_for(newest, 5)
        assert check_graph(snapshot.resources) == ()
        await delete(store, KEY_U)


async def test_a_lost_race_is_built_again_from_the_newer_state(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_each_write(monkeypatch, store, lambda: put(other, credential("b")), times=3)
    seen: list[int] = []

    def build(snapshot: Snapshot) -> Changes:
        seen.append(snapshot.revision)
        return Changes({KEY_A: credential("a")})

    await store.commit(build)
    assert len(seen) == 4
    assert sorted(set(seen)) == seen
    assert store.snapshot.stored.keys() == {KEY_A, KEY_B}


async def test_tries_are_bounded(
    shared_etcd: EtcdProcess, prefix: str, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Limits(max_tries=3)
    async with running(shared_etcd.endpoint, prefix=prefix, limits=limits) as store:
        before_each_write(monkeypatch, store, lambda: put(other, credential("b")), times=99)
        with pytest.raises(Conflict):
            await put(store, credential("a"))
        assert other.snapshot.guard.version == 3
        assert other.snapshot.stored.keys() == {KEY_B}


async def test_two_processes_count_without_losing_one(store: Store, other: Store) -> None:
    def count(snapshot: Snapshot) -> Changes:
        number = int(secrets_in(snapshot).get("a", "0"))
        return Changes({KEY_A: credential("a", str(number + 1))})

    await asyncio.gather(*(each.commit(count) for each in (store, other) * 20))
    revision = max(store.snapshot.revision, other.snapshot.revision)
    assert secrets_in(await store.reflector.wait_for(revision, 5)) == {"a": "40"}


async def test_the_largest_transaction_is_taken_and_one_more_is_refused(store: Store) -> None:
    most = [credential(f"c{n}") for n in range(127)]
    await put(store, *most)
    assert len(store.snapshot.stored) == 127
    before = store.snapshot.guard
    with pytest.raises(TooLarge, match="at most 127"):
        await put(store, *most, credential("c127"))
    assert store.snapshot.guard == before
    await delete(store, *(each.key for each in most))
    assert not store.snapshot.stored


async def test_the_size_limit_is_ours_before_it_is_etcds(store: Store) -> None:
    fits, above = (annotated(size) for size in (1_570_000, 1_573_000))
    await put(store, fits)
    with pytest.raises(TooLarge, match="1572864"):
        await put(store, above)
    assert store.snapshot.guard.version == 1


async def test_limits_that_etcd_does_not_share_are_still_too_large(
    shared_etcd: EtcdProcess, prefix: str
) -> None:
    wide = Limits(max_operations=1000, max_bytes=100_000_000)
    async with running(shared_etcd.endpoint, prefix=prefix, limits=wide) as store:
        with pytest.raises(TooLarge, match="too many operations"):
            await put(store, *(credential(f"c{n}") for n in range(200)))
        with pytest.raises(TooLarge, match="too large"):
            await put(store, annotated(1_700_000))
        assert not store.snapshot.stored


async def test_a_guard_that_somebody_removed_does_not_block_writes(
    store: Store, shared_etcd: EtcdProcess, prefix: str
) -> None:
    await put(store, credential("a"))
    await asyncio.to_thread(shared_etcd.ctl, "del", f"{prefix}/guard")
    await put(store, credential("b"))
    assert store.snapshot.stored.keys() == {KEY_A, KEY_B}


async def test_a_write_by_hand_does_not_block_writes(
    store: Store, shared_etcd: EtcdProcess, prefix: str
) -> None:
    await put(store, credential("a"), credential("b"))
    await asyncio.to_thread(shared_etcd.ctl, "del", f"{prefix}/resources/credentials/b")
    await store.reflector.wait_until(lambda snapshot: KEY_B not in snapshot.stored, 5)
    await put(store, credential("c"))
    assert secrets_in(store.snapshot).keys() == {"a", "c"}


async def test_a_cancelled_commit_does_not_block_the_next(store: Store) -> None:
    writes = [asyncio.create_task(put(store, credential(f"c{n}"))) for n in range(5)]
    await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
    for write in writes:
        write.cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    await put(store, credential("last"))
    assert "last" in secrets_in(store.snapshot)


async def test_an_unstarted_store_says_so_in_time(shared_etcd: EtcdProcess, prefix: str) -> None:
    async with running(shared_etcd.endpoint, prefix=prefix, limits=Limits(timeout=0.3)) as store:
        pass
    with pytest.raises(StoreUnavailable, match="stopped"):
        await store.reflector.wait_for(10**9, 0.05)


def annotated(size: int) -> Resource:
    document = credential("a").to_document(reveal=True)
    document["metadata"]["annotations"] = {"note": "x" * size}
    return type(credential("a")).model_validate(document)


async def test_records_and_the_audit_entry_are_written_with_the_resources_or_not_at_all(
    store: Store, shared_etcd: EtcdProcess, prefix: str
) -> None:
    changes = Changes(
        {KEY_A: credential("a")}, records={"tokens/t1": b"hash"}, audit=b'{"actor": "t1"}'
    )
    revision = await store.commit(lambda _: changes)
    assert store.snapshot.stored[KEY_A].revision == revision
    assert store.snapshot.records["tokens/t1"].revision == revision
    assert shared_etcd.ctl("get", "--prefix", f"{prefix}-audit/", "--print-value-only").strip() == (
        '{"actor": "t1"}'
    )
    await store.commit(lambda _: Changes(records={"tokens/t1": None}, audit=b"{}"))
    assert not store.snapshot.records
    assert (
        shared_etcd.ctl("get", "--prefix", f"{prefix}-audit/", "--keys-only").count("-audit/") == 2
    )


async def test_an_audit_entry_alone_writes_nothing(
    store: Store, shared_etcd: EtcdProcess, prefix: str
) -> None:
    assert await store.commit(lambda _: Changes(audit=b"{}")) == 0
    assert not shared_etcd.ctl("get", "--prefix", f"{prefix}-audit/", "--keys-only")
