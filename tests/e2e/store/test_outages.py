"""etcd crashes, hangs, loses its answers, its network or its data: nothing is lost or made twice."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from control_plane.store import (
    Changes,
    Limits,
    OutcomeUnknown,
    Sealer,
    Snapshot,
    Store,
    StoreUnavailable,
)
from tests.support.documents import KEY_A, credential
from tests.support.etcd import EtcdProcess, free_ports
from tests.support.stores import KEK, delete, put, running, secrets_in, until
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.anyio
SHORT = Limits(timeout=1.0)


async def test_a_killed_etcd_comes_back_and_nothing_is_lost(own_etcd: EtcdProcess) -> None:
    async with running(own_etcd.endpoint) as store, running(own_etcd.endpoint) as other:
        await put(store, credential("a", "1"), credential("b", "1"))
        await asyncio.to_thread(own_etcd.restart, kill=True)
        await delete(store, KEY_A)
        revision = await put(store, credential("c", "1"))
        assert await other.reflector.wait_for(revision, 10) == store.snapshot
        assert secrets_in(other.snapshot) == {"b": "1", "c": "1"}


async def test_a_write_rides_through_a_restart(own_etcd: EtcdProcess) -> None:
    limits = Limits(timeout=20)
    async with running(own_etcd.endpoint, limits=limits) as store:
        await asyncio.to_thread(own_etcd.kill)
        write = asyncio.create_task(put(store, credential("a")))
        await asyncio.to_thread(own_etcd.start)
        assert await write == store.snapshot.revision
        assert store.snapshot.guard.version == 1


async def test_changes_made_while_the_network_was_cut_arrive(
    store: Store, shared_etcd: EtcdProcess, prefix: str
) -> None:
    async with (
        TcpProxy(shared_etcd.endpoint) as proxy,
        running(proxy.endpoint, prefix=prefix) as behind,
    ):
        for number in range(5):
            proxy.cut()
            await put(store, credential("a", str(number)), credential(f"c{number}"))
            if number:
                await delete(store, credential(f"c{number - 1}").key)
            after = await behind.reflector.wait_for(store.snapshot.revision, 10)
            assert after == store.snapshot
            assert secrets_in(after).keys() == {"a", f"c{number}"}


async def test_etcd_that_is_down_is_told_quickly_and_recovered_from(own_etcd: EtcdProcess) -> None:
    async with running(own_etcd.endpoint, limits=SHORT) as store:
        revision = await put(store, credential("a"))
        await asyncio.to_thread(own_etcd.kill)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="is it running") as caught:
            await put(store, credential("b"))
        assert time.monotonic() - began < 3
        assert not isinstance(caught.value, OutcomeUnknown)
        assert store.snapshot.revision == revision
        assert not store.reflector.connected
        assert own_etcd.endpoint in (store.reflector.trouble or "")
        await asyncio.to_thread(own_etcd.start)
        await eventually_writes(store)
        await until(lambda: secrets_in(store.snapshot).keys() == {"a", "b"})
        assert store.reflector.trouble is None


async def test_etcd_that_was_never_there_is_told_quickly(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with Store([f"127.0.0.1:{port}"], Sealer(KEK), limits=SHORT) as store:
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port} cannot be reached"):
            await put(store, credential("a"))
        assert not store.reflector.synced


async def test_a_hanging_etcd_is_noticed_and_recovered_from(own_etcd: EtcdProcess) -> None:
    """SIGSTOP: connections stay open, so only the want of an answer tells."""
    async with running(own_etcd.endpoint, limits=SHORT, silence=0.3) as store:
        await put(store, credential("a"))
        own_etcd.pause()
        try:
            began = time.monotonic()
            with pytest.raises(OutcomeUnknown):
                await put(store, credential("b"))
            assert time.monotonic() - began < 3
            await until(lambda: not store.reflector.connected)
        finally:
            own_etcd.resume()
        await eventually_writes(store)
        await until(lambda: secrets_in(store.snapshot).keys() == {"a", "b"})


async def test_a_lost_answer_is_found_out_and_the_write_made_once(
    other: Store, shared_etcd: EtcdProcess, prefix: str
) -> None:
    builds = 0

    def build(snapshot: Snapshot) -> Changes:
        nonlocal builds
        builds += 1
        return Changes({KEY_A: credential("a", f"build-{builds}")})

    async with (
        TcpProxy(shared_etcd.endpoint) as proxy,
        running(proxy.endpoint, prefix=prefix) as store,
    ):
        proxy.hold_answers()
        write = asyncio.create_task(store.commit(build))
        made = await other.reflector.wait_until(lambda snapshot: KEY_A in snapshot.stored, 5)
        latest = await put(other, credential("b"))
        proxy.cut()
        proxy.heal()
        assert await write == made.revision < latest
        assert builds == 1
        assert other.snapshot.stored[KEY_A].revision == made.revision
        assert other.snapshot.guard.version == 2


async def test_a_write_that_is_never_answered_has_an_unknown_outcome(
    other: Store, shared_etcd: EtcdProcess, prefix: str
) -> None:
    async with (
        TcpProxy(shared_etcd.endpoint) as proxy,
        running(proxy.endpoint, prefix=prefix, limits=SHORT) as store,
    ):
        proxy.hold_answers()
        with pytest.raises(OutcomeUnknown, match="read the resource again"):
            await put(store, credential("a"))
        assert KEY_A in other.snapshot.stored
        proxy.cut()
        proxy.heal()
        await store.reflector.wait_for(other.snapshot.revision, 10)
        assert store.snapshot == other.snapshot


async def test_waiting_writers_are_told_in_time_too(own_etcd: EtcdProcess) -> None:
    async with running(own_etcd.endpoint, limits=SHORT) as store:
        own_etcd.pause()
        try:
            began = time.monotonic()
            results = await asyncio.gather(
                *(put(store, credential(f"c{n}")) for n in range(5)), return_exceptions=True
            )
            assert time.monotonic() - began < 3
        finally:
            own_etcd.resume()
        assert all(isinstance(each, StoreUnavailable | OutcomeUnknown) for each in results)


@pytest.mark.parametrize("order", ["dead first", "dead last"])
async def test_one_living_endpoint_is_enough(own_etcd: EtcdProcess, order: str) -> None:
    dead = f"127.0.0.1:{free_ports(1)[0]}"
    endpoints = [dead, own_etcd.endpoint]
    if order == "dead last":
        endpoints.reverse()
    async with running(*endpoints) as store:
        await put(store, credential("a"))
        await asyncio.to_thread(own_etcd.restart, kill=True)
        await eventually_writes(store)
        await until(lambda: secrets_in(store.snapshot).keys() == {"a", "b"})


async def test_the_other_endpoint_is_taken_when_one_goes(
    other: Store, shared_etcd: EtcdProcess, prefix: str
) -> None:
    async with (
        TcpProxy(shared_etcd.endpoint) as one,
        TcpProxy(shared_etcd.endpoint) as two,
        running(one.endpoint, two.endpoint, prefix=prefix) as store,
    ):
        assert (one.connections, two.connections) == (1, 0)
        one.isolate()
        await put(store, credential("a"))
        assert two.connections == 1
        revision = await put(other, credential("b"))
        await store.reflector.wait_for(revision, 10)


async def test_an_etcd_that_lost_its_data_is_followed(own_etcd: EtcdProcess) -> None:
    async with running(own_etcd.endpoint) as store:
        for number in range(3):
            await put(store, credential("a", str(number)))

        def replace() -> None:
            own_etcd.stop()
            shutil.rmtree(own_etcd.data_dir)
            own_etcd.start()

        await asyncio.to_thread(replace)
        await store.reflector.wait_until(lambda snapshot: not snapshot.stored, 10)
        assert store.snapshot.revision == 0
        await put(store, credential("b"))
        assert secrets_in(store.snapshot).keys() == {"b"}


async def eventually_writes(store: Store) -> None:
    """Puts credential `b` as soon as etcd takes it."""
    async with asyncio.timeout(15):
        while True:
            try:
                await put(store, credential("b"))
                return
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.02)
