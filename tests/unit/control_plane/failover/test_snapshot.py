"""What an Envoy starts from, in its file. The file itself: `tests/unit/ext_proc/test_snapshot.py`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from control_plane.failover._mirror import kept
from control_plane.failover._snapshot import Snapshot
from ext_proc.errors import SnapshotRefused
from ext_proc.sealed import SealedFile
from tests.unit.control_plane.xds._clients import proxies

KEY = bytes(range(32))


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return Snapshot(SealedFile(tmp_path / "envoy.lkg", "failover", KEY))


def test_what_was_written_is_read(snapshot: Snapshot) -> None:
    assert snapshot.read() is None
    compiled = proxies(1, "a", edit="canary")
    snapshot.write(compiled)
    assert snapshot.read() == kept(compiled)
    assert b"canary" not in snapshot.path.read_bytes()


@pytest.mark.parametrize("content", [b"\xc1", msgspec.msgpack.encode([("type", ["no tuple"])])])
def test_sealed_but_something_else(snapshot: Snapshot, content: bytes) -> None:
    snapshot.file.write(content)
    with pytest.raises(SnapshotRefused, match="something else"):
        snapshot.read()


def test_a_workers_file_does_not_open(snapshot: Snapshot) -> None:
    SealedFile(snapshot.path, "worker", KEY).write(msgspec.msgpack.encode([]))
    with pytest.raises(SnapshotRefused):
        snapshot.read()
