"""What was in etcd last, in its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.store import PREFIX, Kept, LastKnownGood, derived_key
from control_plane.store._records import Record
from ext_proc.errors import SnapshotRefused

KEK, OLDER = bytes(range(32)), bytes(32)
RECORDS = [Record(b"/naru/v1/guard", b"canary-1", 1, 2, 3), Record(b"/naru/v1/x", b"", 4, 5, 6)]


def file(path: Path, *keks: bytes, prefix: str = PREFIX) -> LastKnownGood:
    return LastKnownGood(path / "lkg", prefix, lambda: [derived_key(kek) for kek in keks])


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


def test_the_key_is_not_the_kek() -> None:
    assert len(derived_key(KEK)) == 32
    assert len({derived_key(KEK), derived_key(OLDER), KEK, OLDER}) == 4


def test_sealed_but_something_else(tmp_path: Path) -> None:
    snapshot = file(tmp_path, KEK)
    snapshot._file(derived_key(KEK)).write(b"\xc1")
    with pytest.raises(SnapshotRefused, match="something else"):
        snapshot.read()
