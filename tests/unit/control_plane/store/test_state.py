"""The reflector's state against a model of etcd: what is seen is always one whole revision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.resources import Key, Resource
from control_plane.store import Snapshot, StoredRecord, Tampered, _guard
from control_plane.store._layout import Layout
from control_plane.store._records import (
    Alive,
    Compacted,
    Created,
    Deleted,
    Events,
    Progress,
    Record,
)
from control_plane.store._state import ReflectorState
from tests.support.documents import credential, secret_of

LAYOUT = Layout()
CLUSTER = 7
NAMES = ("a", "b", "c")


def decode(key: Key, raw: bytes) -> Resource:
    if raw == b"tampered":
        raise Tampered(f"{key}: tampered")
    if raw == b"crash":
        raise RuntimeError("canary")
    return credential(key.name, raw.decode())


class Etcd:
    """As much of etcd as the reflector can see: a history of transactions."""

    def __init__(self) -> None:
        self.revision = 1
        self.records: dict[bytes, Record] = {}
        self.history: dict[int, list[Record | Deleted]] = {}
        self.states: dict[int, dict[str, str]] = {0: {}}

    def write(self, changes: dict[str, str | None], *, guarded: bool = True) -> int:
        """One transaction: name → secret, or `None` to delete."""
        events: list[Record | Deleted] = []
        self.revision += 1
        for name, value in changes.items():
            raw = LAYOUT.resource(Key("credentials", name))
            if value is not None:
                events.append(self._put(raw, value.encode()))
            elif self.records.pop(raw, None):
                events.append(Deleted(raw, self.revision))
        if guarded:
            guard = _guard.decode(self.records.get(LAYOUT.guard))
            events.append(self._put(LAYOUT.guard, _guard.encode(guard, f"w{self.revision}")))
        self.history[self.revision] = events
        self.states[self.revision] = self._visible()
        return self.revision

    def events(self, start: int, end: int | None = None) -> list[Record | Deleted]:
        revisions = range(start, (end or self.revision) + 1)
        return [event for revision in revisions for event in self.history.get(revision, ())]

    def _put(self, raw: bytes, value: bytes) -> Record:
        old = self.records.get(raw)
        created, version = (old.created, old.version + 1) if old else (self.revision, 1)
        record = Record(raw, value, created, self.revision, version)
        self.records[raw] = record
        return record

    def _visible(self) -> dict[str, str]:
        found = {LAYOUT.key(raw): record.value.decode() for raw, record in self.records.items()}
        return {key.name: value for key, value in found.items() if key}


def listed(state: ReflectorState, etcd: Etcd, cluster: int = CLUSTER) -> Snapshot | None:
    return state.listed(cluster, etcd.revision, list(etcd.records.values()))


def synced(etcd: Etcd) -> ReflectorState:
    state = ReflectorState(LAYOUT, decode)
    listed(state, etcd)
    state.receive(Created(CLUSTER, etcd.revision))
    return state


def content(snapshot: Snapshot) -> dict[str, str]:
    return {key.name: secret_of(each.resource) for key, each in snapshot.stored.items()}


def test_an_empty_etcd_gives_an_empty_snapshot_at_once() -> None:
    state = ReflectorState(LAYOUT, decode)
    assert not state.synced
    snapshot = listed(state, Etcd())
    assert state.synced
    assert snapshot == Snapshot()
    assert snapshot.revision == 0
    assert state.position == 2


def test_a_transaction_is_one_snapshot_with_its_revisions() -> None:
    etcd = Etcd()
    etcd.write({"a": "1", "b": "1"})
    state = synced(etcd)
    revision = etcd.write({"a": "2", "b": None, "c": "1"})
    snapshot = state.receive(Events(tuple(etcd.events(revision))))
    assert snapshot is state.snapshot
    assert snapshot is not None
    assert content(snapshot) == {"a": "2", "c": "1"}
    assert snapshot.revision == revision == snapshot.guard.revision
    stored = snapshot.stored[Key("credentials", "a")]
    assert (stored.created_revision, stored.revision) == (2, 3)


def test_half_a_message_is_held_back() -> None:
    etcd = Etcd()
    state = synced(etcd)
    events = etcd.events(etcd.write({"a": "1", "b": "1"}))
    for event in events[:-1]:
        assert state.receive(Events((event,), fragment=True)) is None
        assert state.snapshot.stored == {}
    snapshot = state.receive(Events((events[-1],)))
    assert snapshot is not None
    assert content(snapshot) == {"a": "1", "b": "1"}


def test_half_a_message_is_forgotten_with_its_connection() -> None:
    etcd = Etcd()
    state = synced(etcd)
    events = etcd.events(etcd.write({"a": "1", "b": "1"}))
    position = state.position
    state.receive(Events((events[0],), fragment=True))
    assert state.receive(Progress(etcd.revision)) is None
    assert state.position == position
    state.receive(Created(CLUSTER, etcd.revision))
    snapshot = state.receive(Events(tuple(events)))
    assert snapshot is not None
    assert content(snapshot) == {"a": "1", "b": "1"}


def test_what_comes_twice_is_applied_once() -> None:
    etcd = Etcd()
    state = synced(etcd)
    first = etcd.write({"a": "1"})
    second = etcd.write({"a": "2"})
    state.receive(Events(tuple(etcd.events(first))))
    state.receive(Events(tuple(etcd.events(second))))
    assert state.receive(Events(tuple(etcd.events(first, first)))) is None
    assert content(state.snapshot) == {"a": "2"}


def test_the_position_follows_events_and_progress_never_probes() -> None:
    etcd = Etcd()
    state = synced(etcd)
    revision = etcd.write({"a": "1"})
    state.receive(Created(CLUSTER, revision + 100))
    assert state.position == revision
    state.receive(Events(tuple(etcd.events(revision))))
    assert state.position == revision + 1
    state.receive(Alive())
    assert state.position == revision + 1
    state.receive(Progress(revision + 10))
    assert state.position == revision + 11
    state.receive(Progress(revision))
    assert state.position == revision + 11


def test_after_a_compaction_it_lists_and_sees_the_deletions() -> None:
    etcd = Etcd()
    etcd.write({"a": "1", "b": "1"})
    state = synced(etcd)
    unchanged = state.snapshot.stored[Key("credentials", "b")]
    etcd.write({"a": None, "c": "1"})
    state.receive(Compacted(etcd.revision))
    assert state.position is None
    assert content(state.snapshot) == {"a": "1", "b": "1"}
    snapshot = listed(state, etcd)
    assert snapshot is not None
    assert content(snapshot) == {"b": "1", "c": "1"}
    assert snapshot.stored[Key("credentials", "b")] is unchanged
    assert state.position == etcd.revision + 1


def test_a_second_listing_of_the_same_is_no_change() -> None:
    etcd = Etcd()
    etcd.write({"a": "1"})
    state = synced(etcd)
    before = state.snapshot
    etcd.revision += 50  # somebody else's keys
    assert listed(state, etcd) is None
    assert state.snapshot is before
    assert state.position == etcd.revision + 1


@pytest.mark.parametrize("value", ["tampered", "crash"])
def test_a_bad_document_is_kept_out_recorded_and_stops_nothing(value: str) -> None:
    etcd = Etcd()
    etcd.write({"a": "1"})
    state = synced(etcd)
    revision = etcd.write({"a": value, "b": "1"})
    snapshot = state.receive(Events(tuple(etcd.events(revision))))
    assert snapshot is not None
    assert content(snapshot) == {"b": "1"}
    (problem,) = state.problems.values()
    assert (problem.key, problem.revision) == ("credentials/a", revision)
    assert problem.code == {"tampered": "tampered", "crash": "undecodable"}[value]
    assert "canary" not in problem.message
    listing = ReflectorState(LAYOUT, decode)
    listed(listing, etcd)
    assert content(listing.snapshot) == {"b": "1"}
    assert listing.problems == state.problems


@pytest.mark.parametrize("mend", ["2", None])
def test_a_problem_ends_with_a_good_write_or_a_delete(mend: str | None) -> None:
    etcd = Etcd()
    etcd.write({"a": "tampered"})
    by_watch, by_list = synced(etcd), synced(etcd)
    assert by_watch.problems
    revision = etcd.write({"a": mend})
    by_watch.receive(Events(tuple(etcd.events(revision))))
    listed(by_list, etcd)
    assert not by_watch.problems
    assert not by_list.problems
    assert content(by_watch.snapshot) == content(by_list.snapshot) == ({"a": "2"} if mend else {})


def test_other_keys_move_the_position_only() -> None:
    etcd = Etcd()
    state = synced(etcd)
    before = state.snapshot
    other = Record(b"/naru/v1/elsewhere", b"x", 9, 9, 1)
    assert state.receive(Events((other,))) is None
    assert state.snapshot is before
    assert state.position == 10


def test_a_write_by_hand_is_seen_and_leaves_the_guard() -> None:
    etcd = Etcd()
    guarded = etcd.write({"a": "1"})
    state = synced(etcd)
    revision = etcd.write({"a": None}, guarded=False)
    snapshot = state.receive(Events(tuple(etcd.events(revision))))
    assert snapshot is not None
    assert (snapshot.revision, snapshot.guard.revision) == (revision, guarded)


def test_a_delete_by_hand_that_only_a_listing_shows_still_moves_the_revision() -> None:
    etcd = Etcd()
    etcd.write({"a": "1"})
    state = synced(etcd)
    etcd.write({"a": None}, guarded=False)
    snapshot = listed(state, etcd)
    assert snapshot is not None
    assert not snapshot.stored
    assert snapshot.revision == etcd.revision


def test_a_member_that_is_behind_leads_to_a_new_listing() -> None:
    etcd = Etcd()
    etcd.write({"a": "1"})
    state = synced(etcd)
    state.receive(Created(CLUSTER, etcd.revision - 1))
    assert state.position is None


def test_a_restored_backup_is_read_afresh() -> None:
    etcd, restored = Etcd(), Etcd()
    restored.write({"a": "old"})
    etcd.write({"a": "new"})  # the same revision, another history
    etcd.write({"b": "new"})
    state = synced(etcd)
    state.receive(Created(CLUSTER, restored.revision))
    assert state.position is None
    snapshot = listed(state, restored)
    assert snapshot is not None
    assert content(snapshot) == {"a": "old"}
    assert snapshot.revision == restored.revision


def test_another_cluster_is_read_afresh() -> None:
    etcd, other = Etcd(), Etcd()
    etcd.write({"a": "1"})
    other.write({"a": "2"})
    state = synced(etcd)
    state.receive(Created(CLUSTER + 1, etcd.revision))
    assert state.position is None
    snapshot = listed(state, other, cluster=CLUSTER + 1)
    assert snapshot is not None
    assert content(snapshot) == {"a": "2"}


values = st.one_of(st.none(), st.sampled_from(["1", "2", "3", "tampered"]))
writes = st.lists(st.dictionaries(st.sampled_from(NAMES), values, min_size=1), max_size=6)
steps = st.lists(
    st.tuples(
        writes,
        st.sampled_from(["watch", "watch", "fragments", "cut", "duplicate", "compact"]),
        st.lists(st.booleans(), max_size=6),
    ),
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_every_snapshot_is_a_state_that_etcd_was_in(
    script: Sequence[tuple[list[dict[str, str | None]], str, list[bool]]],
) -> None:
    """Whatever is batched, cut into fragments, lost, repeated or compacted on the way."""
    etcd = Etcd()
    state = synced(etcd)
    for transactions, how, splits in script:
        for changes in transactions:
            etcd.write(changes)
        deliver(state, etcd, how, splits)
        check(state.snapshot, etcd)
    deliver(state, etcd, "watch", [])
    check(state.snapshot, etcd)
    assert state.snapshot.revision == max((r for r in etcd.states if r), default=0)


def deliver(state: ReflectorState, etcd: Etcd, how: str, splits: list[bool]) -> None:
    assert state.position is not None
    if how == "compact":
        state.receive(Compacted(etcd.revision))
        listed(state, etcd)
        return
    start = state.position - (2 if how == "duplicate" else 0)
    batch: list[int] = []
    for revision in range(start, etcd.revision + 1):
        batch.append(revision)
        if splits and splits.pop():
            send(state, etcd, batch, how)
            check(state.snapshot, etcd)
            batch = []
    if how == "cut":  # the rest is lost with the connection
        state.receive(Created(CLUSTER, etcd.revision))
    else:
        send(state, etcd, batch, how)


def send(state: ReflectorState, etcd: Etcd, revisions: list[int], how: str) -> None:
    events = [event for revision in revisions for event in etcd.history.get(revision, ())]
    if how == "cut" and events:
        state.receive(Events(tuple(events[: len(events) // 2]), fragment=True))
        state.receive(Created(CLUSTER, etcd.revision))
    elif how == "fragments":
        for event in events[:-1]:
            state.receive(Events((event,), fragment=True))
        state.receive(Events(tuple(events[-1:])))
    elif events:
        state.receive(Events(tuple(events)))


def check(snapshot: Snapshot, etcd: Etcd) -> None:
    expected = etcd.states[snapshot.revision]
    assert content(snapshot) == {n: v for n, v in expected.items() if v != "tampered"}


def test_records_are_followed_beside_the_resources() -> None:
    etcd = Etcd()
    etcd.write({"a": "1"})
    etcd.records[LAYOUT.record("tokens/t1")] = Record(LAYOUT.record("tokens/t1"), b"one", 2, 2, 1)
    state = synced(etcd)
    assert dict(state.snapshot.family("tokens")) == {"t1": StoredRecord(b"one", 2)}
    changed = Record(LAYOUT.record("tokens/t2"), b"two", 3, 3, 1)
    snapshot = state.receive(Events((changed,)))
    assert snapshot is not None
    assert snapshot.records["tokens/t2"] == StoredRecord(b"two", 3)
    assert snapshot.records.keys() == {"tokens/t1", "tokens/t2"}
    assert snapshot.revision == 3
    assert content(snapshot) == {"a": "1"}
    snapshot = state.receive(Events((Deleted(LAYOUT.record("tokens/t1"), 4),)))
    assert snapshot is not None
    assert snapshot.records.keys() == {"tokens/t2"}


def test_a_record_that_went_away_between_two_listings_is_gone() -> None:
    etcd = Etcd()
    raw = LAYOUT.record("tokens/t1")
    etcd.records[raw] = Record(raw, b"one", 2, 2, 1)
    etcd.revision = 2
    state = synced(etcd)
    del etcd.records[raw]
    etcd.revision = 5
    snapshot = listed(state, etcd)
    assert snapshot is not None
    assert not snapshot.records
    assert listed(state, etcd) is None  # nothing new


class TestRestored:
    """A process that begins with what an earlier one was told."""

    @staticmethod
    def restored(state: ReflectorState) -> ReflectorState:
        fresh = ReflectorState(LAYOUT, decode)
        fresh.restore(state.cluster, state.snapshot.revision, list(state.raw.values()))
        return fresh

    def test_it_is_what_it_was(self) -> None:
        etcd = Etcd()
        etcd.write({"a": "1", "b": "2"})
        state = synced(etcd)
        events = etcd.write({"a": "3", "b": None})
        state.receive(Events(tuple(etcd.events(events))))
        fresh = self.restored(state)
        assert fresh.snapshot == state.snapshot
        assert fresh.synced
        assert fresh.position is None  # etcd is listed first

    def test_the_products_own_records_are_in_it(self) -> None:
        etcd = Etcd()
        etcd.write({"a": "1"})
        etcd._put(LAYOUT.record("parked/x"), b"why")
        state = synced(etcd)
        assert self.restored(state).snapshot.records == state.snapshot.records
        assert list(state.snapshot.records) == ["parked/x"]

    def test_the_same_etcd_is_no_news(self) -> None:
        etcd = Etcd()
        etcd.write({"a": "1"})
        fresh = self.restored(synced(etcd))
        assert listed(fresh, etcd) is None
        assert fresh.position == etcd.revision + 1

    def test_what_was_written_meanwhile_is(self) -> None:
        etcd = Etcd()
        etcd.write({"a": "1", "b": "2"})
        fresh = self.restored(synced(etcd))
        etcd.write({"a": "3", "b": None})
        snapshot = listed(fresh, etcd)
        assert snapshot is not None
        assert content(snapshot) == {"a": "3"}

    @pytest.mark.parametrize("cluster", [CLUSTER, CLUSTER + 1])
    def test_another_history_replaces_it(self, cluster: int) -> None:
        """Also one in which the same revision wrote something else: a backup was restored."""
        etcd, other = Etcd(), Etcd()
        etcd.write({"a": "1"})
        other.write({"a": "2"})
        snapshot = listed(self.restored(synced(etcd)), other, cluster)
        assert snapshot is not None
        assert content(snapshot) == {"a": "2"}


def test_problems_can_be_read_while_a_thread_finds_more() -> None:
    state = ReflectorState(LAYOUT, decode)

    class Meanwhile:
        @property
        def key(self) -> str:
            state._problems[b"more"] = state._problems[b"first"]
            return "first"

    first: Any = Meanwhile()
    state._problems[b"first"] = first
    assert list(state.problems) == ["first"]
