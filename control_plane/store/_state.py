"""The reflector's state: listings and watch messages in, snapshots out. No I/O, no clock.

The shell (`reflector.py`) lists whenever `position` is `None`, else watches from `position`, and
hands everything that it gets to `listed` and `receive`. Two promises hold whatever comes:

- a snapshot is the state after some whole transaction, never within one. etcd keeps the events of a
  revision in one message; a message in fragments is held back until its last one has come;
- no change is lost or applied twice: the position is the last *event's* revision + 1, never the
  header's, because messages of a catch-up are all stamped with the newest revision.

Specification: https://etcd.io/docs/v3.5/learning/api_guarantees/#watch-apis
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from control_plane.resources import Key, Resource
from control_plane.store import _guard
from control_plane.store._layout import Layout
from control_plane.store._records import (
    Alive,
    Compacted,
    Created,
    Deleted,
    Events,
    Progress,
    Record,
    WatchMessage,
)
from control_plane.store.codec import written
from control_plane.store.errors import StoreError, Undecodable
from control_plane.store.model import Guard, Snapshot, Stored, StoredProblem, StoredRecord

Decode = Callable[[Key, bytes], Resource]


class ReflectorState:
    """See the module. `synced` turns true with the first listing and stays so.

    `raw` holds the records themselves, by key, as they lie in etcd.
    """

    def __init__(self, layout: Layout, decode: Decode) -> None:
        self._layout = layout
        self._decode = decode
        self._cluster = 0
        self._held: list[Record | Deleted] = []
        self._problems: dict[bytes, StoredProblem] = {}
        self.raw: dict[bytes, Record] = {}
        self.snapshot = Snapshot()
        self.synced = False
        self.position: int | None = None
        """The revision to watch from; `None`: list first."""

    @property
    def problems(self) -> Mapping[str, StoredProblem]:
        """The documents that are kept out, by their short key."""
        # A copy, which is made at once: a thread may be amid a listing.
        return MappingProxyType({each.key: each for each in self._problems.copy().values()})

    @property
    def cluster(self) -> int:
        """The id of the etcd cluster that was listed last; 0 before."""
        return self._cluster

    def restore(self, cluster: int, revision: int, records: Iterable[Record]) -> Snapshot | None:
        """Takes what an earlier process was told; to be called before the first listing.

        etcd is listed as soon as it is there, whatever its revision: a history may have been
        replaced while nobody looked.
        """
        snapshot = self.listed(cluster, revision, records)
        self.position = None
        return snapshot

    def listed(self, cluster: int, revision: int, records: Iterable[Record]) -> Snapshot | None:
        """Takes everything that etcd has at `revision`; the new snapshot if it differs.

        What was deleted meanwhile is gone from it; what did not change is not decoded again, unless
        the revisions may belong to another history (a restored backup, another cluster).
        """
        same_history = cluster == self._cluster and revision >= self.snapshot.revision
        known = self.snapshot.stored if same_history else {}
        if not same_history:
            self._problems.clear()
        relevant = {record.key: record for record in records if self._is_ours(record.key)}
        for gone in self._problems.keys() - relevant.keys():
            del self._problems[gone]
        before, self.raw = self.raw, dict(relevant)
        guard = _guard.decode(relevant.pop(self._layout.guard, None))
        modified = [record.modified for record in relevant.values()]
        own = self._take_records(relevant)
        stored = dict(self._read_all(relevant.values(), known, before))
        self._cluster, self.position = cluster, revision + 1
        newest = max([guard.revision, *modified])
        return self._replace(newest, revision, stored, guard, own)

    def receive(self, message: WatchMessage) -> Snapshot | None:
        """Takes one message of the watch; a snapshot if it completes a change."""
        match message:
            case Created():
                self._created(message)
            case Compacted():
                self.position = None
            case Progress(revision) if not self._held and self.position is not None:
                self.position = max(self.position, revision + 1)
            case Events(events, fragment):
                self._held.extend(events)
                return None if fragment else self._apply()
            case Progress() | Alive():
                pass
        return None

    def _created(self, message: Created) -> None:
        self._held.clear()
        if self.position is None:
            return
        behind = message.revision < self.position - 1
        if behind or message.cluster != self._cluster:
            self.position = None

    def _apply(self) -> Snapshot | None:
        events, self._held = self._held, []
        position = self.position
        if position is None:
            return None
        fresh = [event for event in events if event.modified >= position]
        if not fresh:
            return None
        self.position = fresh[-1].modified + 1
        ours = [event for event in fresh if self._is_ours(event.key)]
        return self._advance(ours) if ours else None

    def _advance(self, events: list[Record | Deleted]) -> Snapshot:
        last = {event.key: event for event in events}
        for raw, event in last.items():
            if isinstance(event, Record):
                self.raw[raw] = event
            else:
                self.raw.pop(raw, None)
        guard = self.snapshot.guard
        written = last.pop(self._layout.guard, None)
        if written is not None:
            guard = _guard.decode(written if isinstance(written, Record) else None)
        records = self._take_records(last)
        puts, deletes = [], []
        for raw, event in last.items():
            key = self._key(raw)
            if isinstance(event, Deleted):
                self._problems.pop(raw, None)
                deletes.append(key)
            elif (stored := self._read(key, event)) is not None:
                puts.append(stored)
            else:
                deletes.append(key)
        revision = events[-1].modified
        self.snapshot = self.snapshot.with_changes(revision, puts, deletes, guard, records)
        return self.snapshot

    def _take_records(
        self, events: dict[bytes, Record] | dict[bytes, Record | Deleted]
    ) -> dict[str, StoredRecord | None]:
        """Takes the product's own records out of `events`: what is left are resources."""
        taken: dict[str, StoredRecord | None] = {}
        for raw in list(events):
            name = self._layout.record_name(raw)
            if name is not None:
                event = events.pop(raw)
                value = event.value if isinstance(event, Record) else None
                taken[name] = None if value is None else StoredRecord(value, event.modified)
        return taken

    def _replace(
        self,
        newest: int,
        listed: int,
        stored: dict[Key, Stored],
        guard: Guard,
        records: Mapping[str, StoredRecord | None],
    ) -> Snapshot | None:
        before, first = self.snapshot, not self.synced
        self.synced = True
        same = _same(before.stored, stored) and before.records == records
        if not first and before.guard == guard and same:
            return None
        if not first and newest <= before.revision <= listed:
            # A key was deleted by hand: no revision of what is left tells, yet the content differs.
            newest = listed
        fresh = Snapshot(newest, MappingProxyType(stored), guard)
        self.snapshot = fresh.with_changes(newest, records=records)
        return self.snapshot

    def _read_all(
        self,
        records: Iterable[Record],
        known: Mapping[Key, Stored],
        before: Mapping[bytes, Record],
    ) -> Iterable[tuple[Key, Stored]]:
        for record in records:
            key = self._key(record.key)
            stored = known.get(key)
            if stored is None or before.get(record.key) != record:
                stored = self._read(key, record)
            if stored is not None:
                yield key, stored

    def _read(self, key: Key, record: Record) -> Stored | None:
        """The resource in a record, or `None` with the reason among the problems."""
        try:
            resource = self._decode(key, record.value)
        except StoreError as error:
            self._note(record, error)
        except Exception as error:  # one bad document must never stop all others
            name = type(error).__name__
            self._note(record, Undecodable(f"{key} cannot be read ({name}): apply it again"))
        else:
            self._problems.pop(record.key, None)
            stored = Stored(resource, record.created, _revision(record))
            before = self.snapshot.stored.get(key)
            return before if before == stored else stored  # the same object: nothing to compile
        return None

    def _note(self, record: Record, error: StoreError) -> None:
        short = self._layout.short(record.key)
        problem = StoredProblem(short, record.modified, error.code, error.message)
        self._problems[record.key] = problem

    def _is_ours(self, raw: bytes) -> bool:
        layout = self._layout
        known = layout.key(raw) is not None or layout.record_name(raw) is not None
        return known or raw == layout.guard

    def _key(self, raw: bytes) -> Key:
        key = self._layout.key(raw)
        assert key is not None  # filtered by _is_ours
        return key


def _revision(record: Record) -> int:
    """Of the last change of what is in the record; see `codec.written`."""
    found = written(record.value)
    return found if found is not None and 0 < found < record.modified else record.modified


def _same(before: Mapping[Key, Stored], after: Mapping[Key, Stored]) -> bool:
    """Whether nothing was read anew: what did not change stays the same object."""
    return before.keys() == after.keys() and all(
        before[key] is stored for key, stored in after.items()
    )
