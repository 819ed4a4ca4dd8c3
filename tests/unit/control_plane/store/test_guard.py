"""What became of a write whose answer was lost."""

from __future__ import annotations

import pytest

from control_plane.store import Guard, _guard
from control_plane.store._records import Record


def written(*writes: str, start: Guard | None = None) -> Guard:
    """The guard after these writes, one revision each."""
    guard = start or Guard()
    for write in writes:
        value = _guard.encode(guard, write)
        revision = guard.revision + 1
        guard = _guard.decode(Record(b"guard", value, 1, revision, guard.version + 1))
    return guard


def test_the_guard_knows_the_revision_of_each_recent_write() -> None:
    guard = written("w1", "w2", "w3")
    assert guard == Guard(3, 3, {"w1": 1, "w2": 2, "w3": 3})


def test_it_forgets_the_oldest() -> None:
    guard = written(*(f"w{n}" for n in range(1, 101)))
    assert guard.version == 100
    assert list(guard.writes) == [f"w{n}" for n in range(85, 101)]
    assert len(guard.writes) == _guard.REMEMBERED


def test_nothing_written_yet() -> None:
    assert _guard.decode(None) == Guard(0, 0, {})


def test_a_write_that_was_applied_is_found_even_after_others() -> None:
    before = written("w1")
    for others in ((), ("x",), ("x", "y", "z")):
        now = written("mine", *others, start=before)
        assert _guard.fate("mine", before, now) == "applied"
        assert now.writes["mine"] == 2


def test_a_write_that_lost_is_told_apart() -> None:
    before = written("w1")
    assert _guard.fate("mine", before, written("x", start=before)) == "lost"
    many = written(*(f"x{n}" for n in range(_guard.REMEMBERED)), start=before)
    assert _guard.fate("mine", before, many) == "lost"


def test_too_many_writes_since_leave_it_unknown() -> None:
    before = written("w1")
    mine_first = written("mine", *(f"x{n}" for n in range(_guard.REMEMBERED)), start=before)
    assert _guard.fate("mine", before, mine_first) == "unknown"


@pytest.mark.parametrize(
    "value", [b"", b"7", b"[]", b"{}", b'{"id": 1}', b'{"id":"x","before":{"y":"z"}}']
)
def test_a_foreign_value_counts_as_an_unknown_write(value: bytes) -> None:
    guard = _guard.decode(Record(b"guard", value, 1, 9, 2))
    assert guard == Guard(9, 2, {})
    assert _guard.fate("mine", Guard(8, 1), guard) == "unknown"


def test_a_guard_that_was_deleted_leaves_it_unknown() -> None:
    assert _guard.fate("mine", written("w1"), Guard()) == "unknown"
