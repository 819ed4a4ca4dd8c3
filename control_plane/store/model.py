"""What the rest of the control plane sees of etcd: immutable snapshots, and changes to one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TypeVar

from control_plane.resources import Key, Resource

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Stored:
    """A resource as etcd has it.

    The revisions are etcd's: that of its creation, and that of the last change of its meaning. To
    seal its secrets with another key is none.
    """

    resource: Resource
    created_revision: int
    revision: int


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A document of the product's own; `revision` is etcd's mod revision."""

    value: bytes = field(repr=False)
    revision: int


@dataclass(frozen=True, slots=True)
class Guard:
    """The key that every write of the product compares and rewrites.

    Attributes:
        revision: its mod revision; 0 while nothing was ever written.
        version: how many times it was written.
        writes: id of each recent write → the revision it made; tells a writer whose answer was lost
            what became of its write.
    """

    revision: int = 0
    version: int = 0
    writes: Mapping[str, int] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Snapshot:
    """All resources at one revision, never half a transaction.

    Attributes:
        revision: the etcd revision of the last write of the product; 0 when there was none.
        stored: every resource that could be read; see `Reflector.problems` for the others.
        guard: the state of the guard at this revision.
        records: what the product itself keeps beside the resources, by `family/name`; whoever
            owns a family knows what its bytes mean.
    """

    revision: int = 0
    stored: Mapping[Key, Stored] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    guard: Guard = field(default_factory=Guard, repr=False)
    records: Mapping[str, StoredRecord] = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )

    @cached_property
    def resources(self) -> Mapping[Key, Resource]:
        """The resources alone, as `check_graph` wants them; made once per snapshot."""
        return MappingProxyType({key: stored.resource for key, stored in self.stored.items()})

    @cached_property
    def users(self) -> Mapping[Key, frozenset[Key]]:
        """The resources that name a key; found once, then carried from snapshot to snapshot."""
        found: dict[Key, set[Key]] = {}
        for key, resource in self.resources.items():
            for named in resource.references():
                found.setdefault(named, set()).add(key)
        return MappingProxyType({key: frozenset(users) for key, users in found.items()})

    def with_changes(
        self,
        revision: int,
        puts: Iterable[Stored] = (),
        deletes: Iterable[Key] = (),
        guard: Guard | None = None,
        records: Mapping[str, StoredRecord | None] | None = None,
    ) -> Snapshot:
        """The snapshot after a transaction. Resources that did not change stay the same objects."""
        gone, changed = set(deletes), {put.resource.key: put for put in puts}
        stored = _copy(self.stored)
        stored.update(changed)
        for key in gone - changed.keys():
            stored.pop(key, None)
        after = Snapshot(
            revision, MappingProxyType(stored), guard or self.guard, self._records(records)
        )
        self._carry_on(after, gone | changed.keys())
        return after

    def _carry_on(self, after: Snapshot, touched: Set[Key]) -> None:
        """What is known of all resources, brought up to date instead of made anew."""
        known = self.__dict__
        if "resources" in known:
            resources = _copy(self.resources)
            for key in touched:
                resources.pop(key, None)
                if key in after.stored:
                    resources[key] = after.stored[key].resource
            after.__dict__["resources"] = MappingProxyType(resources)
        if "users" in known:
            users = _copy(self.users)
            for key in touched:
                before, now = _named(self.stored.get(key)), _named(after.stored.get(key))
                users.update((named, users[named] - {key}) for named in before - now)
                users.update((k, users.get(k, frozenset()) | {key}) for k in now - before)
            after.__dict__["users"] = MappingProxyType(users)

    def family(self, name: str) -> Iterator[tuple[str, StoredRecord]]:
        """The records of one family, by the rest of their names."""
        head = f"{name}/"
        for key, record in self.records.items():
            if key.startswith(head):
                yield key.removeprefix(head), record

    def _records(
        self, changed: Mapping[str, StoredRecord | None] | None
    ) -> Mapping[str, StoredRecord]:
        """The records after a transaction; None stands for one that was deleted."""
        if not changed:
            return self.records
        merged = {**self.records, **changed}
        return MappingProxyType({k: found for k, found in merged.items() if found is not None})


def _copy(mapping: Mapping[Key, V]) -> dict[Key, V]:
    """A dictionary; that of a proxy is cloned, which hashes no key again."""
    return mapping.copy() if isinstance(mapping, MappingProxyType) else dict(mapping)


def _named(stored: Stored | None) -> frozenset[Key]:
    return stored.resource.references() if stored is not None else frozenset()


@dataclass(frozen=True, slots=True)
class Changes:
    """What one transaction writes. No key may be in both `puts` and `deletes`.

    Attributes:
        records: by `family/name`; None deletes.
        raw: values put as they are, by etcd's own key; what they mean must not change.
        audit: an entry of the audit trail, written with everything else or not at all. Alone it is
            no reason to write.
    """

    puts: Mapping[Key, Resource] = field(default_factory=dict)
    deletes: frozenset[Key] = frozenset()
    records: Mapping[str, bytes | None] = field(default_factory=dict, repr=False)
    audit: bytes | None = None
    raw: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        both = self.deletes & self.puts.keys()
        if both:
            raise ValueError(f"put and deleted in one transaction: {', '.join(map(str, both))}")
        wrong = [key for key, resource in self.puts.items() if resource.key != key]
        if wrong:
            raise ValueError(f"put under another key: {', '.join(map(str, wrong))}")

    def __bool__(self) -> bool:
        return bool(self.puts or self.deletes or self.records or self.raw)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry of the audit trail as it lies in etcd; `revision` is that of the write."""

    name: str
    value: bytes = field(repr=False)
    revision: int


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries in the order of time, and whether more follow."""

    entries: tuple[AuditEntry, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class StoredProblem:
    """A stored document that is kept out of the snapshot; holds nothing of its content.

    Attributes:
        key: the etcd key, without the product's prefix.
        revision: its mod revision.
        code: the code of the `StoreError`, such as `wrong_kek`, `tampered`, `undecodable`.
        message: what is wrong and what to do.
    """

    key: str
    revision: int
    code: str
    message: str
