"""How full is too full, what of the history may go, and who is rewritten when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control_plane.store._upkeep import (
    MIB,
    History,
    Member,
    Policy,
    Space,
    may_disarm,
    space,
    to_defragment,
)

POLICY = Policy(quota=1000 * MIB, keep_seconds=100, keep_revisions=10, waste=64 * MIB)
SMALL = Member("a:1", 1, is_leader=True, revision=50, size=MIB, in_use=MIB, alarmed=False)
ROOMY = Space(MIB, MIB, POLICY.quota, full=False, short=False)
SHORT = replace(ROOMY, short=True)


def test_the_fullest_member_counts() -> None:
    fuller = replace(SMALL, id=2, size=799 * MIB)
    assert not space([SMALL, fuller], POLICY).short
    assert space([SMALL, replace(fuller, size=800 * MIB)], POLICY).short


def test_an_alarm_means_full_whatever_the_sizes() -> None:
    found = space([SMALL, replace(SMALL, id=2, alarmed=True)], POLICY)
    assert found.full
    assert found.short


def test_the_leader_is_rewritten_last() -> None:
    waste = {"size": 200 * MIB, "in_use": 10 * MIB}
    members = [
        replace(SMALL, **waste),
        *(replace(SMALL, id=n, is_leader=False, **waste) for n in (3, 2)),
    ]
    assert [m.id for m in to_defragment(members, ROOMY, POLICY)] == [2, 3, 1]


@pytest.mark.parametrize(
    ("size", "in_use", "expected"),
    [(200, 99, True), (200, 101, False), (100, 40, False), (60, 1, False)],
)
def test_a_file_is_rewritten_if_it_is_mostly_empty(size: int, in_use: int, expected: bool) -> None:
    member = replace(SMALL, size=size * MIB, in_use=in_use * MIB)
    assert bool(to_defragment([member], ROOMY, POLICY)) is expected


def test_when_space_is_short_less_is_worth_it() -> None:
    member = replace(SMALL, size=900 * MIB, in_use=840 * MIB)
    assert not to_defragment([member], ROOMY, POLICY)
    assert to_defragment([member], SHORT, POLICY) == [member]


def test_the_alarm_is_disarmed_when_all_have_room() -> None:
    assert may_disarm([SMALL], POLICY)
    assert not may_disarm([SMALL, replace(SMALL, size=960 * MIB)], POLICY)
    assert not may_disarm([], POLICY)


def test_history_goes_when_it_is_old_enough() -> None:
    history = History(POLICY)
    for now, revision in ((0, 100), (60, 200), (90, 300)):
        history.see(now, revision)
    assert history.to_compact(99, ROOMY) is None
    assert history.to_compact(100, ROOMY) == 100
    assert history.to_compact(161, ROOMY) == 200
    history.compacted(200)
    assert history.to_compact(162, ROOMY) is None


def test_the_newest_revisions_stay_whatever_their_age() -> None:
    history = History(POLICY)
    history.see(0, 100)
    assert history.to_compact(1000, ROOMY) == 90


def test_when_space_is_short_only_the_newest_stay() -> None:
    history = History(POLICY)
    history.see(0, 100)
    assert history.to_compact(1, SHORT) == 90


def test_a_young_history_is_left_alone() -> None:
    history = History(POLICY)
    history.see(0, 5)
    assert history.to_compact(1000, SHORT) is None
