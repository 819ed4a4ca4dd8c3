from __future__ import annotations

import asyncio
import base64
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ext_proc import sealed
from ext_proc._snapshot import Snapshot
from ext_proc.ads import Known
from ext_proc.errors import SnapshotRefused
from ext_proc.sealed import Keeper, read_key
from tests.unit.ext_proc.make import CANARY

KEY = bytes(range(32))
KNOWN: Known = [("secrets", [CANARY.encode()]), ("plans", [b"one", b"two"])]


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return Snapshot(tmp_path / "state" / "w1.lkg", "w1", KEY)


def test_what_was_written_last_is_read(snapshot: Snapshot) -> None:
    assert snapshot.read() is None
    snapshot.write([("plans", [])])
    snapshot.write(KNOWN)
    assert snapshot.read() == KNOWN
    assert [path.name for path in snapshot.path.parent.iterdir()] == ["w1.lkg"]


def test_it_is_sealed_and_private(snapshot: Snapshot) -> None:
    snapshot.write(KNOWN)
    first = snapshot.path.read_bytes()
    assert CANARY.encode() not in first
    assert b"plans" not in first
    assert stat.S_IMODE(snapshot.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(snapshot.path.parent.stat().st_mode) == 0o700
    snapshot.write(KNOWN)
    assert snapshot.path.read_bytes() != first
    assert repr(KEY) not in repr(snapshot)


def test_every_changed_byte_is_noticed(snapshot: Snapshot) -> None:
    snapshot.write(KNOWN)
    good = snapshot.path.read_bytes()
    for position in range(len(good)):
        changed = bytearray(good)
        changed[position] ^= 1
        snapshot.path.write_bytes(changed)
        with pytest.raises(SnapshotRefused):
            snapshot.read()


def test_every_cut_is_noticed(snapshot: Snapshot) -> None:
    snapshot.write(KNOWN)
    good = snapshot.path.read_bytes()
    for length in range(len(good)):
        snapshot.path.write_bytes(good[:length])
        with pytest.raises(SnapshotRefused):
            snapshot.read()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Snapshot(Path("w1.lkg"), "w1", bytes(32)), "another key"),
        (Snapshot(Path("w1.lkg"), "w2", KEY), "another's"),
    ],
)
def test_whose_it_is_matters(snapshot: Snapshot, other: Snapshot, words: str) -> None:
    snapshot.write(KNOWN)
    with pytest.raises(SnapshotRefused, match=words):
        Snapshot(snapshot.path, other.node_id, other.key).read()


def test_a_file_that_is_none(snapshot: Snapshot) -> None:
    snapshot.path.mkdir(parents=True)
    with pytest.raises(SnapshotRefused, match="cannot be read"):
        snapshot.read()


def test_sealed_but_something_else(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("msgspec.msgpack.encode", lambda _: b"\xc1")
        snapshot.write(KNOWN)
    with pytest.raises(SnapshotRefused, match="something else"):
        snapshot.read()


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"!!", 0o600, "not base64"),
        (base64.b64encode(b"short"), 0o600, "32 bytes"),
        (base64.b64encode(KEY), 0o640, "chmod 600"),
        (None, 0, "cannot be read"),
    ],
)
def test_keys_that_cannot_be(tmp_path: Path, content: bytes | None, mode: int, words: str) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(SnapshotRefused, match=words) as caught:
        read_key(path)
    assert content is None or content.decode() not in str(caught.value)


def test_a_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(base64.b64encode(KEY) + b"\n")
    assert read_key(path) == KEY


@pytest.mark.anyio
async def test_many_changes_make_one_write(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "PAUSE", 0)
    asked = 0

    def known() -> Known:
        nonlocal asked
        asked += 1
        return KNOWN

    keeper = Keeper(snapshot, known)
    await keeper.flush()
    assert asked == 0
    keeping = asyncio.create_task(keeper.run())
    for _ in range(10):
        keeper.changed()
    async with asyncio.timeout(10):
        while not snapshot.path.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    keeping.cancel()
    assert asked == 1


@pytest.mark.anyio
async def test_a_disk_that_cannot_be_written_is_said(
    snapshot: Snapshot, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot.path.parent.write_text("a file")
    keeper = Keeper(snapshot, lambda: KNOWN)
    keeper.changed()
    assert not await keeper.flush()
    assert "no snapshot in" in caplog.text


@pytest.mark.anyio
async def test_a_fault_of_our_own_is_said_and_does_not_end_it(
    snapshot: Snapshot, caplog: pytest.LogCaptureFixture
) -> None:
    faults: list[Exception] = [RuntimeError("a bug"), OSError("without a number")]

    def known() -> Known:
        if faults:
            raise faults.pop()
        return KNOWN

    keeper = Keeper(snapshot, known)
    keeper.changed()
    assert not await keeper.flush()
    assert "OSError" in str(keeper.trouble)
    assert not await keeper.flush()
    assert "RuntimeError" in str(keeper.trouble)
    assert await keeper.flush()
    assert keeper.trouble is None
    assert snapshot.read() == KNOWN


@pytest.mark.anyio
async def test_what_could_not_be_written_is_written_later(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "PAUSE", 0)
    monkeypatch.setattr(sealed, "AGAIN", 0.01)
    tries = 0

    def sync(_descriptor: int) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", sync)
    keeper = Keeper(snapshot, lambda: KNOWN)
    keeper.changed()
    keeping = asyncio.create_task(keeper.run())
    async with asyncio.timeout(10):
        while not snapshot.path.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    keeping.cancel()
    assert tries == 3
    assert snapshot.read() == KNOWN
    assert [path.name for path in snapshot.path.parent.iterdir()] == ["w1.lkg"]


def test_what_a_killed_worker_left_is_cleared(snapshot: Snapshot) -> None:
    snapshot.clear()  # there is no directory yet
    snapshot.write(KNOWN)
    dead = subprocess.Popen(["true"])
    dead.wait()
    kept = ["w1.lkg", f".w1.lkg.{os.getppid()}", f".w2.lkg.{dead.pid}", ".w1.lkg.x", ".w1.lkg."]
    for name in (*kept[1:], f".w1.lkg.{dead.pid}", f".w1.lkg.{os.getpid()}"):
        (snapshot.path.parent / name).touch()
    snapshot.clear()
    assert sorted(path.name for path in snapshot.path.parent.iterdir()) == sorted(kept)


_FULL = """
import resource, sys
from pathlib import Path
from ext_proc.sealed import SealedFile
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    SealedFile(Path(sys.argv[1]), "w1", bytes(range(32))).write(bytes(100_000))
except OSError as error:
    sys.exit(f"refused: {error.strerror}")
"""


def test_a_disk_that_is_full_leaves_the_old_one(snapshot: Snapshot) -> None:
    """In a process of its own, which may not write files of more than a page."""
    snapshot.write(KNOWN)
    command = [sys.executable, "-c", _FULL, str(snapshot.path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert "refused: File too large" in ended.stderr
    assert snapshot.read() == KNOWN
    assert [path.name for path in snapshot.path.parent.iterdir()] == ["w1.lkg"]
