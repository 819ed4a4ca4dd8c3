"""Rotation of the key-encryption key: real etcd, two replicas, everything going on meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from control_plane.store import (
    Kek,
    KekFile,
    KeksFromText,
    Keyring,
    KeysApart,
    KeysInUse,
    KeysNotOurs,
    KeySource,
    Limits,
    Rotation,
    Store,
    WrongKek,
    rotation,
)
from tests.support.documents import KEY_A, credential, upstream
from tests.support.etcd import EtcdProcess
from tests.support.stores import every_snapshot, put, secrets_in, until

pytestmark = pytest.mark.anyio
OLD = Kek(bytes(range(32)))


@asynccontextmanager
async def replica(
    etcd: EtcdProcess, prefix: str, source: KeySource, limits: Limits | None = None
) -> AsyncIterator[tuple[Store, Rotation]]:
    """A store whose keys can be rotated; there for the others to see."""
    keyring = Keyring(source)
    async with Store([etcd.endpoint], keyring, prefix, limits=limits) as store:
        await store.reflector.wait_for(0, 10)
        rotation = Rotation(store, keyring)
        present = asyncio.create_task(rotation.run())
        await rotation.presence.announce()
        try:
            yield store, rotation
        finally:
            present.cancel()
            await asyncio.wait({present})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return key_file(tmp_path / "kek", OLD)


def key_file(path: Path, *keks: Kek) -> Path:
    path.touch(0o600)
    path.write_text("".join(f"{kek.to_base64()}\n" for kek in keks))
    return path


def sealing_keys(etcd: EtcdProcess, prefix: str) -> list[str]:
    """The ids in the stored credentials, as etcd has them."""
    out = etcd.ctl("get", "--prefix", f"{prefix}/resources/credentials/", "--print-value-only")
    documents = [json.loads(line) for line in out.splitlines() if line]
    return [document["spec"]["secret"]["sealed"]["kek"] for document in documents]


async def test_everything_is_sealed_anew_and_nothing_changes(
    shared_etcd: EtcdProcess, prefix: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replica(shared_etcd, prefix, KekFile(path)) as (store, rotation):
        await put(store, *(credential(f"c{i}", f"secret-{i}") for i in range(30)), upstream("u"))
        before = dict(store.snapshot.stored)
        snapshots = every_snapshot(monkeypatch, store)
        progress = await rotation.rotate()
        assert (progress.resealed, progress.left, progress.unreadable) == (30, 0, 0)
        assert progress.primary != OLD.id
        keys = await asyncio.to_thread(sealing_keys, shared_etcd, prefix)
        assert keys == [progress.primary] * 30
        await until(lambda: bool(snapshots))
        for snapshot in (store.snapshot, *snapshots):
            assert snapshot.stored == before
            assert all(snapshot.stored[key] is before[key] for key in before)
        assert [kek.id for kek in KekFile(path).load()] == [progress.primary, OLD.id]
    async with replica(shared_etcd, prefix, KekFile(path)) as (fresh, _):
        assert fresh.snapshot.stored == before, "the revisions are the same after a restart, too"
        assert secrets_in(fresh.snapshot) == {f"c{i}": f"secret-{i}" for i in range(30)}


async def test_a_changed_secret_has_a_revision_of_its_own_again(
    shared_etcd: EtcdProcess, prefix: str, path: Path
) -> None:
    async with replica(shared_etcd, prefix, KekFile(path)) as (store, rotation):
        await put(store, credential("a", "one"))
        await rotation.rotate()
        revision = await put(store, credential("a", "two"))
        assert store.snapshot.stored[KEY_A].revision == revision
        assert secrets_in(store.snapshot) == {"a": "two"}


async def test_a_rotation_that_was_interrupted_goes_on_with_the_same_key(
    shared_etcd: EtcdProcess, prefix: str, path: Path
) -> None:
    """A process that ends in the middle leaves a state in which everything opens."""
    small = Limits(max_operations=4)  # two secrets at a time
    async with replica(shared_etcd, prefix, KekFile(path), limits=small) as (store, rotation):
        for i in range(7):
            await put(store, credential(f"c{i}", f"secret-{i}"))
        first = await rotation.rotate(seconds=0)
        assert (first.resealed, first.left) == (2, 5)
    async with replica(shared_etcd, prefix, KekFile(path), limits=small) as (store, rotation):
        await put(store, credential("c9", "secret-9"))
        second = await rotation.rotate(seconds=0)
        assert second.primary == first.primary
        assert (second.resealed, second.left) == (2, 3), "what is new is sealed with the new key"
        last = await rotation.rotate(first.primary)
        assert (last.resealed, last.left) == (3, 0)
        assert len(secrets_in(store.snapshot)) == 8
        keys = await asyncio.to_thread(sealing_keys, shared_etcd, prefix)
        assert keys == [first.primary] * 8


async def test_writers_go_on_meanwhile(shared_etcd: EtcdProcess, prefix: str, path: Path) -> None:
    """On both replicas: no write is lost, and none is sealed with the old key afterwards."""
    small = Limits(max_operations=12, timeout=20.0, max_tries=200)
    async with (
        replica(shared_etcd, prefix, KekFile(path), limits=small) as (one, rotation),
        replica(shared_etcd, prefix, KekFile(path), limits=small) as (two, _),
    ):
        for i in range(40):
            await put(one, credential(f"c{i}", "before"))

        async def write(store: Store, name: str) -> None:
            for i in range(20):
                await put(store, credential(name, f"{name}-{i}"), credential(f"c{i}", name))

        _, _, progress = await asyncio.gather(
            write(one, "one"), write(two, "two"), rotation.rotate(seconds=20)
        )
        assert progress.left == 0
        assert secrets_in(one.snapshot)["one"] == "one-19"
        newest = one.snapshot.revision
        await two.reflector.wait_for(newest, 5)
        assert secrets_in(one.snapshot) == secrets_in(two.snapshot)
        assert two.reflector.problems == {}
        keys = await asyncio.to_thread(sealing_keys, shared_etcd, prefix)
        assert set(keys) == {progress.primary}


async def test_nothing_is_sealed_anew_while_a_replica_lacks_the_key(
    shared_etcd: EtcdProcess, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "PATIENCE", 0.2)
    mine, theirs = key_file(tmp_path / "mine", OLD), key_file(tmp_path / "theirs", OLD)
    async with (
        replica(shared_etcd, prefix, KekFile(mine)) as (store, mine_rotation),
        replica(shared_etcd, prefix, KekFile(theirs)) as (_, their_rotation),
    ):
        await put(store, credential("a", "s"))
        with pytest.raises(KeysApart, match=their_rotation.presence.id):
            await mine_rotation.rotate()
        assert await asyncio.to_thread(sealing_keys, shared_etcd, prefix) == [OLD.id]
        theirs.write_text(mine.read_text())  # what the message asks for
        await their_rotation.presence.announce()
        progress = await mine_rotation.rotate()
        assert progress.left == 0
        assert len(KekFile(mine).load()) == 2, "the key made by the first try is used"


async def test_keys_from_variables_are_handed_round_by_their_owner(
    shared_etcd: EtcdProcess, prefix: str
) -> None:
    new = Kek(bytes(range(1, 33)))
    old, both = OLD.to_base64(), f"{new.to_base64()},{OLD.to_base64()}"
    async with replica(shared_etcd, prefix, KeksFromText(old)) as (store, rotation):
        await put(store, credential("a", "s"))
        with pytest.raises(KeysNotOurs, match="restart one after the other"):
            await rotation.rotate()
    async with (
        replica(shared_etcd, prefix, KeksFromText(both)) as (first, rotation),
        replica(shared_etcd, prefix, KeksFromText(both)) as (second, _),
    ):
        await put(first, credential("b", "s"))
        keys = await asyncio.to_thread(sealing_keys, shared_etcd, prefix)
        assert keys == [OLD.id] * 2, "a new key is not used before it is asked for"
        assert (await rotation.rotate()).primary == new.id
        await put(second, credential("c", "s"))
        keys = await asyncio.to_thread(sealing_keys, shared_etcd, prefix)
        assert keys == [new.id] * 3


async def test_a_key_is_dropped_only_when_nothing_needs_it(
    shared_etcd: EtcdProcess, prefix: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "_FILES", 0.2)
    files: list[str] = []
    keyring = Keyring(KekFile(path))
    async with Store([shared_etcd.endpoint], keyring, prefix) as store:
        await store.reflector.wait_for(0, 10)
        turning = Rotation(store, keyring, lambda ids: [kek for kek in ids if kek in files])
        await put(store, credential("a", "s"))
        with pytest.raises(KeysInUse, match="the one that seals"):
            await turning.prune()
        files.append(OLD.id)
        progress = await turning.rotate()
        with pytest.raises(KeysInUse, match=f"{OLD.id} seals 0 values in etcd, and files of"):
            await turning.prune()
        files.clear()
        assert [key.needed for key in await turning.keys()] == [True, False]
        assert await turning.prune() == (OLD.id,)
        assert [key.id for key in await turning.keys()] == [progress.primary]
        assert [kek.id for kek in KekFile(path).load()] == [progress.primary]


async def test_what_no_key_opens_is_counted_and_holds_nothing_up(
    shared_etcd: EtcdProcess, prefix: str, path: Path
) -> None:
    lost = Kek(bytes([9] * 32))
    key = f"{prefix}/resources/credentials/a"
    async with replica(shared_etcd, prefix, KeksFromText(lost.to_base64())) as (store, _):
        await put(store, credential("a", "s"))
    sealed = shared_etcd.ctl("get", key, "--print-value-only").rstrip("\n")
    shared_etcd.ctl("del", key)
    async with replica(shared_etcd, prefix, KekFile(path)) as (store, rotation):
        await put(store, credential("b", "s"))
        shared_etcd.ctl("put", key, stdin=sealed)
        await until(lambda: "credentials/a" in store.reflector.problems)
        progress = await rotation.rotate()
        assert (progress.resealed, progress.left, progress.unreadable) == (1, 0, 1)
        second = await rotation.rotate()
        assert second.primary != progress.primary, "it does not keep the next one from beginning"


async def test_with_a_key_that_opens_nothing_no_secret_is_written(
    shared_etcd: EtcdProcess, prefix: str, path: Path
) -> None:
    """It would be sealed with a key that the other control planes may not have."""
    other = Kek(bytes([9] * 32))
    async with replica(shared_etcd, prefix, KeksFromText(other.to_base64())) as (store, _):
        await put(store, credential("a", "s"))
    async with replica(shared_etcd, prefix, KekFile(path)) as (store, _):
        with pytest.raises(WrongKek, match="NARU_KEK_FILE"):
            await put(store, credential("b", "s"))
        assert not store.snapshot.stored


async def test_a_key_that_comes_late_opens_what_it_sealed(
    shared_etcd: EtcdProcess, prefix: str, path: Path, tmp_path: Path
) -> None:
    """Without a restart, and without a change in etcd."""
    other = Kek(bytes([9] * 32))
    async with replica(shared_etcd, prefix, KeksFromText(other.to_base64())) as (store, _):
        await put(store, credential("a", "s"))
    async with replica(shared_etcd, prefix, KekFile(path)) as (store, _):
        assert store.reflector.problems["credentials/a"].code == "wrong_kek"
        key_file(path, other, OLD)
        await until(lambda: secrets_in(store.snapshot) == {"a": "s"})
        assert store.reflector.problems == {}


async def test_a_replica_that_died_does_not_hold_a_rotation_up_for_long(
    shared_etcd: EtcdProcess, prefix: str, path: Path
) -> None:
    """Its lease ends while the rotation waits."""
    keyring = Keyring(KeksFromText(OLD.to_base64()))
    dying = Store([shared_etcd.endpoint], keyring, prefix)
    gone = Rotation(dying, keyring)
    await gone.presence.announce()  # and never again
    await dying.close()
    async with replica(shared_etcd, prefix, KekFile(path)) as (store, rotation):
        assert gone.presence.id in await rotation.presence.replicas()
        await put(store, credential("a", "s"))
        assert (await rotation.rotate()).left == 0
