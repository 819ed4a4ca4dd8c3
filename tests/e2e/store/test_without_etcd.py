"""A store that begins while etcd is away: with what is on disk, and what becomes of that."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from control_plane.store import Kek, LastKnownGood, Sealer, Store, StoreUnavailable
from tests.support.documents import credential
from tests.support.etcd import EtcdProcess
from tests.support.stores import KEK, put, running, secrets_in, until

pytestmark = pytest.mark.anyio
CANARY = "canary-9a1b7c"


def keeping(directory: Path, **options: Any) -> dict[str, Any]:
    path = directory / "state" / "control_plane.lkg"
    file = LastKnownGood(path, "/naru/v1", Sealer(KEK).derive)
    return {"last_known_good": file, "patience": 0.2, **options}


async def written(own_etcd: EtcdProcess, tmp_path: Path) -> int:
    """A store has lived, and etcd is away now; the revision."""
    async with running(own_etcd.endpoint, **keeping(tmp_path)) as store:
        revision = await put(store, credential("a", CANARY))
    await asyncio.to_thread(own_etcd.stop)
    return revision


def spoil(file: LastKnownGood, damage: str) -> None:
    good = file.path.read_bytes()
    if damage == "foreign":
        kept = file.read()
        assert kept is not None
        LastKnownGood(file.path, file.prefix, Sealer(Kek(bytes(32))).derive).write(kept)
    else:
        file.path.write_bytes(good[:-1] if damage == "cut" else good[:-1] + bytes([good[-1] ^ 1]))


async def test_it_begins_with_what_was_there_and_goes_on(
    own_etcd: EtcdProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    revision = await written(own_etcd, tmp_path)
    async with running(own_etcd.endpoint, **keeping(tmp_path)) as store:
        assert secrets_in(store.snapshot) == {"a": CANARY}
        assert store.snapshot.revision == revision
        assert store.reflector.restored is not None
        assert "serving revision" in caplog.text
        with pytest.raises(StoreUnavailable):
            await put(store, credential("b"))
        await asyncio.to_thread(own_etcd.start)
        await until(lambda: store.reflector.restored is None)
        assert store.snapshot.revision == revision
        await put(store, credential("b", "other"))
        assert secrets_in(store.snapshot) == {"a": CANARY, "b": "other"}


async def test_it_holds_no_secret_in_clear(own_etcd: EtcdProcess, tmp_path: Path) -> None:
    await written(own_etcd, tmp_path)
    (path,) = (tmp_path / "state").iterdir()
    assert CANARY.encode() not in path.read_bytes()
    assert b"credentials" not in path.read_bytes()


async def test_with_etcd_the_file_is_not_used(own_etcd: EtcdProcess, tmp_path: Path) -> None:
    await written(own_etcd, tmp_path)
    await asyncio.to_thread(own_etcd.start)
    async with running(own_etcd.endpoint) as other:
        await put(other, credential("a", "newer"))
    async with running(own_etcd.endpoint, **keeping(tmp_path, patience=10.0)) as store:
        assert store.reflector.restored is None
        assert secrets_in(store.snapshot) == {"a": "newer"}


@pytest.mark.parametrize("damage", ["cut", "changed", "foreign"])
async def test_a_file_that_cannot_be_used(
    own_etcd: EtcdProcess, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    await written(own_etcd, tmp_path)
    options = keeping(tmp_path)
    spoil(options["last_known_good"], damage)
    async with Store([own_etcd.endpoint], Sealer(KEK), **options) as store:
        await until(lambda: "is not used" in caplog.text)
        assert CANARY not in caplog.text
        assert not store.reflector.synced
        await asyncio.to_thread(own_etcd.start)
        await store.reflector.wait_for(1, 10)
        assert secrets_in(store.snapshot) == {"a": CANARY}


async def test_what_cannot_be_saved_is_said(own_etcd: EtcdProcess, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    async with running(own_etcd.endpoint, **keeping(tmp_path)) as store:
        await put(store, credential("a"))
        await until(lambda: store.unsaved is not None)
        assert store.unsaved == os.strerror(17)


async def test_what_ends_the_saving_is_said_and_nothing_else_ends(
    own_etcd: EtcdProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(own_etcd.endpoint, **keeping(tmp_path)) as store:
        broken = MagicMock(side_effect=RuntimeError(CANARY))
        monkeypatch.setattr(store._keeper, "changed", broken)
        await put(store, credential("a"))
        await until(lambda: store.unsaved is not None)
        assert CANARY not in (store.unsaved or "")
        await put(store, credential("b"))


async def test_a_fault_of_our_own_in_restoring_leaves_what_etcd_has(
    own_etcd: EtcdProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await written(own_etcd, tmp_path)
    monkeypatch.setattr(LastKnownGood, "read", MagicMock(side_effect=RuntimeError("a bug")))
    async with Store([own_etcd.endpoint], Sealer(KEK), **keeping(tmp_path)) as store:
        await until(lambda: "is not used" in caplog.text)
        await asyncio.to_thread(own_etcd.start)
        await store.reflector.wait_for(1, 10)
        assert secrets_in(store.snapshot) == {"a": CANARY}
