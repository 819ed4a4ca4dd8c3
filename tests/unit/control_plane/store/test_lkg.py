"""What was in etcd last, in its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.store import PREFIX, Kek, KekError, Kept, LastKnownGood, Sealer
from control_plane.store._records import Record
from ext_proc.errors import SnapshotRefused

KEK, OLDER = Kek(bytes(range(32))), Kek(bytes(32))
RECORDS = [Record(b"/naru/v1/guard", b"canary-1", 1, 2, 3), Record(b"/naru/v1/x", b"", 4, 5, 6)]


def file(path: Path, *keks: Kek, prefix: str = PREFIX) -> LastKnownGood:
    return LastKnownGood(path / "lkg", prefix, Sealer(keks[0], keks[1:]).derive)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    kept = Kept.of(2**64 - 1, 6, RECORDS)
    snapshot = file(tmp_path, KEK)
    assert snapshot.read() is None
    snapshot.write(kept)
    assert snapshot.read() == kept
    assert kept.restored() == RECORDS
    assert b"canary-1" not in snapshot.path.read_bytes()


def test_it_opens_with_an_older_key_and_is_written_with_the_newest(tmp_path: Path) -> None:
    file(tmp_path, OLDER).write(Kept.of(1, 1, RECORDS))
    both = file(tmp_path, KEK, OLDER)
    found = both.read()
    assert found is not None
    both.write(found)
    assert file(tmp_path, KEK).read() == found


def test_whose_it_is_matters(tmp_path: Path) -> None:
    file(tmp_path, KEK).write(Kept.of(1, 1, RECORDS))
    with pytest.raises(SnapshotRefused, match="another key"):
        file(tmp_path, OLDER).read()
    with pytest.raises(SnapshotRefused, match="another's"):
        file(tmp_path, KEK, prefix="/team/naru").read()


def test_it_names_the_kek_and_is_not_sealed_with_it(tmp_path: Path) -> None:
    snapshot = file(tmp_path, KEK)
    snapshot.write(Kept.of(1, 1, RECORDS))
    assert snapshot.path.read_bytes().startswith(KEK.id.encode())
    assert len({KEK.derive("a"), KEK.derive("b"), OLDER.derive("a"), KEK.key}) == 4


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 99, KEK.id.encode(), b"x" * 99])
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    snapshot = file(tmp_path, KEK)
    snapshot.path.write_bytes(content)
    with pytest.raises(SnapshotRefused):
        snapshot.read()


def test_without_its_key_it_is_not_written(tmp_path: Path) -> None:
    def derive(purpose: str, kek_id: str | None = None) -> tuple[str, bytes]:
        raise KekError("the key is not here")

    snapshot = LastKnownGood(tmp_path / "lkg", PREFIX, derive)
    with pytest.raises(OSError, match="the key is not here"):
        snapshot.write(Kept.of(1, 1, RECORDS))
    assert not snapshot.path.exists()


def test_sealed_but_something_else(tmp_path: Path) -> None:
    snapshot = file(tmp_path, KEK)
    snapshot._file(*snapshot.derive("control-plane.lkg")).write(b"\xc1")
    with pytest.raises(SnapshotRefused, match="something else"):
        snapshot.read()
