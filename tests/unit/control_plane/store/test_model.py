"""Snapshots share what did not change, and never change themselves."""

from __future__ import annotations

import pytest

from control_plane.resources import Key, Resource
from control_plane.store import Changes, Guard, Snapshot, Stored
from tests.support.documents import KEY_A, KEY_B, credential, upstream

A, B = (Stored(credential(name), 1, 1) for name in "ab")


def test_changes_make_a_new_snapshot_and_leave_the_old_one() -> None:
    before = Snapshot().with_changes(5, [A, B], guard=Guard(5))
    after = before.with_changes(6, [Stored(credential("a", "new"), 1, 6)], [KEY_B], Guard(6))
    assert before.stored == {KEY_A: A, KEY_B: B}
    assert (before.revision, after.revision) == (5, 6)
    assert after.stored.keys() == {KEY_A}
    assert after.stored[KEY_A].revision == 6
    assert after.guard.revision == 6


def test_what_did_not_change_stays_the_same_object() -> None:
    before = Snapshot().with_changes(5, [A, B])
    after = before.with_changes(6, [Stored(credential("a", "new"), 1, 6)])
    assert after.stored[KEY_B] is B


def test_a_snapshot_cannot_be_written_to() -> None:
    snapshot = Snapshot().with_changes(1, [A])
    with pytest.raises(TypeError):
        snapshot.stored[KEY_B] = B  # type: ignore[index]
    with pytest.raises(TypeError):
        snapshot.resources[KEY_B] = B.resource  # type: ignore[index]


def test_resources_are_those_that_are_stored() -> None:
    snapshot = Snapshot().with_changes(1, [A])
    assert snapshot.resources == {KEY_A: A.resource}
    assert snapshot.resources is snapshot.resources


def test_a_delete_of_what_is_not_there_is_nothing() -> None:
    assert not Snapshot().with_changes(2, deletes=[KEY_A]).stored


def test_the_same_key_cannot_be_put_and_deleted() -> None:
    with pytest.raises(ValueError, match="credentials/a"):
        Changes({KEY_A: A.resource}, frozenset({KEY_A}))


def test_a_resource_cannot_be_put_under_another_key() -> None:
    with pytest.raises(ValueError, match="another key"):
        Changes({KEY_B: A.resource})


def test_empty_changes_are_false() -> None:
    assert not Changes()
    assert Changes({KEY_A: A.resource})
    assert Changes(deletes=frozenset({KEY_A}))


def test_nothing_secret_is_in_a_repr() -> None:
    everything = repr((Snapshot().with_changes(1, [A]), A, Changes({KEY_A: A.resource})))
    assert "s3cret" not in everything


def test_what_is_known_of_all_resources_is_carried_on() -> None:
    """The same as when it is found anew, after edits, deletes and other references."""
    snapshot = Snapshot().with_changes(1, map(stored, (credential("a"), upstream("u", "a"))))
    assert snapshot.users == {KEY_A: {upstream("u").key}}
    steps: tuple[tuple[list[Resource], list[Key]], ...] = (
        ([credential("b"), upstream("v", "a")], []),
        ([upstream("u", "b")], []),
        ([], [upstream("v").key]),
        ([upstream("u")], [KEY_A]),
    )
    for puts, deletes in steps:
        snapshot = snapshot.with_changes(snapshot.revision + 1, map(stored, puts), deletes)
        fresh = Snapshot(snapshot.revision, snapshot.stored)
        assert dict(snapshot.resources) == dict(fresh.resources)
        named = {key: users for key, users in snapshot.users.items() if users}
        assert named == dict(fresh.users)


def stored(resource: Resource) -> Stored:
    return Stored(resource, 1, 1)
