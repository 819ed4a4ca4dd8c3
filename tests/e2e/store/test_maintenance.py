"""A real etcd fills up, is emptied again, and takes less than it should."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from control_plane.resources import Resource, parse
from control_plane.store import Limits, Policy, Sealer, Store, TooLarge
from control_plane.store._wire import StoreFull
from tests.support.documents import credential
from tests.support.etcd import EtcdProcess
from tests.support.gateway import document
from tests.support.stores import KEK, put, running, secrets_in, until

pytestmark = pytest.mark.anyio
QUOTA = 8 * 1024 * 1024
SMALL = Policy(quota=QUOTA, keep_revisions=5)
LARGE = Limits(max_operations=10_240, max_bytes=32 * 1024 * 1024)


@pytest.fixture
def small_etcd(tmp_path: Path) -> Iterator[EtcdProcess]:
    with EtcdProcess(tmp_path / "etcd", (f"--quota-backend-bytes={QUOTA}",)) as etcd:
        yield etcd


def large(number: int) -> Resource:
    message = {"role": "user", "content": f"{number} " + "x" * 60_000}
    return parse(document("Template", f"t{number % 40}", {"messages": [message]}))


async def overwrite(store: Store) -> None:
    for number in range(300):
        await put(store, large(number))


async def fill(store: Store) -> None:
    """The same template again and again, so that only the history grows, until etcd is full."""
    with pytest.raises(StoreFull) as refused:
        await overwrite(store)
    assert (refused.value.status, refused.value.code) == (503, "store_full")
    assert "--quota-backend-bytes" in refused.value.message


def alarms(etcd: EtcdProcess) -> str:
    return etcd.ctl("alarm", "list")


def status(etcd: EtcdProcess) -> Any:
    return json.loads(etcd.ctl("endpoint", "status", "-w", "json"))[0]["Status"]


async def test_a_full_etcd_takes_writes_again_without_anybodys_help(
    small_etcd: EtcdProcess,
) -> None:
    async with running(small_etcd.endpoint, policy=SMALL) as store:
        revision = await put(store, credential("a", "kept"))
        await fill(store)
        assert "NOSPACE" in alarms(small_etcd)
        assert secrets_in(store.snapshot) == {"a": "kept"}, "reads go on"
        assert store.reflector.trouble is None
        await store.maintenance.look()
        assert alarms(small_etcd) == ""
        assert status(small_etcd)["dbSize"] < QUOTA / 2
        assert await put(store, credential("a", "new")) > revision
        assert secrets_in(store.snapshot) == {"a": "new"}


async def test_while_etcd_is_full_its_state_says_so(small_etcd: EtcdProcess) -> None:
    never = Policy(quota=QUOTA, keep_revisions=1_000_000)
    async with running(small_etcd.endpoint, policy=never) as store:
        await fill(store)
        await store.maintenance.look()
        assert store.maintenance.space is not None
        assert (store.maintenance.space.full, store.maintenance.space.short) == (True, True)
        assert "NOSPACE" in alarms(small_etcd), "nothing could be removed, so it stays"
        with pytest.raises(StoreFull):
            await put(store, credential("a"))


async def test_old_history_is_compacted_and_a_reader_that_is_behind_survives(
    small_etcd: EtcdProcess,
) -> None:
    policy = Policy(quota=QUOTA, keep_seconds=0, keep_revisions=2)
    async with running(small_etcd.endpoint, policy=policy) as store:
        for number in range(10):
            await put(store, credential("a", str(number)))
        await store.maintenance.look()
        with pytest.raises(AssertionError, match="compacted"):
            small_etcd.ctl("get", "x", "--rev=3")
        async with running(small_etcd.endpoint) as late:
            assert late.snapshot == store.snapshot


async def test_one_replica_at_a_time_looks_after_etcd(small_etcd: EtcdProcess) -> None:
    policy = Policy(quota=QUOTA, keep_seconds=0, keep_revisions=2)
    async with running(small_etcd.endpoint, policy=policy) as first:
        await first.maintenance.look()
        async with running(small_etcd.endpoint, policy=policy) as second:
            for number in range(10):
                await put(first, credential("a", str(number)))
            await second.maintenance.look()
            small_etcd.ctl("get", "x", "--rev=3")  # still there
            await first.maintenance._leave()
            await second.maintenance.look()
            with pytest.raises(AssertionError, match="compacted"):
                small_etcd.ctl("get", "x", "--rev=3")


async def test_an_etcd_with_default_limits_is_found_out_at_once(own_etcd: EtcdProcess) -> None:
    async with Store([own_etcd.endpoint], Sealer(KEK), limits=LARGE) as store:
        await store.maintenance.look()
        (problem,) = store.maintenance.problems
        assert "--max-txn-ops=10240" in problem
        assert "--max-request-bytes=33554432" in problem


async def test_an_etcd_with_the_limits_that_were_told_is_no_problem(tmp_path: Path) -> None:
    flags = ("--max-txn-ops=10240", "--max-request-bytes=33554432")
    with EtcdProcess(tmp_path / "etcd", flags) as etcd:
        async with Store([etcd.endpoint], Sealer(KEK), limits=LARGE) as store:
            await store.maintenance.look()
            assert store.maintenance.problems == ()


@pytest.mark.parametrize(
    "many",
    [[credential(f"c{n}") for n in range(200)], [large(n) for n in range(40)]],
    ids=["too many", "too large"],
)
async def test_what_etcd_does_not_take_is_413_and_nothing_of_it_is_written(
    own_etcd: EtcdProcess, many: list[Resource]
) -> None:
    async with running(own_etcd.endpoint, limits=LARGE) as store:
        before = store.snapshot
        with pytest.raises(TooLarge) as refused:
            await put(store, *many)
        assert refused.value.status == 413
        assert "--max-txn-ops" in refused.value.message
        assert store.snapshot is before
        assert own_etcd.ctl("get", "--prefix", "/naru", "--keys-only").strip() == ""


async def test_an_etcd_that_was_away_is_tried_again(own_etcd: EtcdProcess) -> None:
    async with running(own_etcd.endpoint) as store:
        await asyncio.to_thread(own_etcd.kill)
        await until(lambda: not store.reflector.connected)
        await store.maintenance.look()
        assert store.maintenance.space is None
        await asyncio.to_thread(own_etcd.start)
        await until(lambda: store.reflector.connected)
        await store.maintenance.look()
        assert store.maintenance.space is not None
