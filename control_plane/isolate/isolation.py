"""What is set aside, and why: in etcd for all replicas, and here until it is there.

    a node refuses ─► it names who is at fault        ─► these are set aside
                   └► it does not: all that changed is set aside for a moment, so that nobody waits;
                      an Envoy is asked offline which of them it is ─► the others are let go again

Pure but for `examine`, which runs Envoy several times, and `save`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Protocol

from control_plane.compile import Compiled, Hold, Unit
from control_plane.isolate import suspects
from control_plane.isolate.bisect import bad_ones
from control_plane.isolate.park import FAMILY, Park, decode
from control_plane.isolate.validate import ValidatorError
from control_plane.redact import redacted
from control_plane.resources import Key, Resource
from control_plane.store import Build, Changes, Codec, Snapshot, StoredRecord
from control_plane.xds import Refusal

log = logging.getLogger("naru.isolate")


class Validator(Protocol):
    """`validate.EnvoyValidator`."""

    async def accepts(self, units: Iterable[Unit]) -> bool: ...


class Isolation:
    """See the module. `validator` is None where there is no Envoy to ask."""

    def __init__(
        self,
        codec: Codec,
        commit: Callable[[Build], Awaitable[int]],
        validator: Validator | None = None,
    ) -> None:
        self._codec = codec
        self._commit = commit
        self._validator = validator
        self._local: dict[Key, Park] = {}  # known here, and perhaps not yet in etcd
        self._decoded: dict[str, tuple[StoredRecord, Park]] = {}
        self._suspected: Mapping[Key, Unit] = {}
        self._refusal: Refusal | None = None

    @property
    def suspected(self) -> Set[Key]:
        """The units that are set aside only until it is known who is at fault."""
        return self._suspected.keys()

    def holds(
        self, snapshot: Snapshot, resources: Mapping[Key, Resource] | None = None
    ) -> dict[Key, Hold]:
        """What the compiler must not take as it is. `resources` if they are not the snapshot's."""
        present = snapshot.resources if resources is None else resources
        self._forget(snapshot)
        return {key: park.hold(snapshot, present) for key, park in self._parks(snapshot).items()}

    def refused(self, refusal: Refusal, snapshot: Snapshot) -> bool:
        """Sets aside who is, or may be, at fault; whether compiling again gives something else."""
        at_fault: Iterable[Key] = suspects.named(refusal)
        if not at_fault:
            suspected = suspects.suspected(refusal)
            at_fault = suspected
            if len(suspected) > 1:
                self._suspected, self._refusal = suspected, refusal
        news = [self._set_aside(key, refusal, snapshot) for key in sorted(at_fault)]
        return any(news) or snapshot.revision > refusal.target.revision

    def found(self, compiled: Compiled, live: Compiled | None) -> bool:
        """Keeps the last good version of what the compiler could not take; whether it has any."""
        news = False
        for key, aside in compiled.aside.items():
            unit = live.units.get(key) if live is not None else None
            if not (aside.node or aside.serving or unit is None or key in self._local):
                self._local[key] = Park(key, None, aside.reason, closure=dict(unit.read))
                news = True
        return news

    async def examine(self) -> bool:
        """Finds out who of the suspects it is, and lets the others go; whether there were any."""
        units, refusal = self._suspected, self._refusal
        if not units or refusal is None:
            return False
        bad = await self._bad_ones(units)
        log.warning("of %d changes these are at fault: %s", len(units), ", ".join(map(str, bad)))
        for key in units.keys() - suspects.with_users(bad, refusal):
            self._local.pop(key, None)
        self._suspected, self._refusal = {}, None
        return True

    async def save(self, mended: Iterable[Key] = ()) -> None:
        """Writes to etcd what is certain, and removes what is mended.

        Raises:
            StoreError: etcd is away; to be tried again.
        """
        gone = frozenset(mended)
        self._local = {key: park for key, park in self._local.items() if key not in gone}
        await self._commit(lambda snapshot: self._changes(snapshot, gone))

    def unsaved(self, snapshot: Snapshot) -> bool:
        """Whether `save` has something to write, or to remove."""
        return bool(self._changes(snapshot))

    def mended(self, compiled: Compiled, snapshot: Snapshot) -> frozenset[Key]:
        """What was set aside once, and is compiled like everything else now."""
        return frozenset(self._parks(snapshot).keys() - compiled.aside.keys())

    def _changes(self, snapshot: Snapshot, gone: Set[Key] = frozenset()) -> Changes:
        stored = self._stored(snapshot)
        records: dict[str, bytes | None] = {
            park.name: None
            for key, park in stored.items()
            if key in gone or key not in snapshot.resources
        }
        for key, park in self._local.items():
            if key not in self._suspected and _is_worth(park, stored.get(key), snapshot):
                records[park.name] = park.encode(self._codec)
        return Changes(records=records)

    def _forget(self, snapshot: Snapshot) -> None:
        """Drop what is in etcd by now, or whose resource is gone."""
        stored = self._stored(snapshot)
        self._local = {
            key: park
            for key, park in self._local.items()
            if key in snapshot.resources and not _is_same(park, stored.get(key))
        }

    def _set_aside(self, key: Key, refusal: Refusal, snapshot: Snapshot) -> bool:
        unit, good = refusal.target.units[key], refusal.last_good
        known = self._parks(snapshot).get(key)
        if known is not None and key in refusal.target.aside:
            # It was the last good version that was refused now: there is none, then.
            self._local[key] = replace(known, closure=None)
            return known.closure is not None
        read = _revisions(unit, snapshot)
        if read is None:
            return False  # it has changed since: what is stored now has not been refused
        before = good.units.get(key) if good is not None else None
        closure = known.closure if known is not None else None
        if before is not None:
            closure = dict(before.read)
        words = redacted(refusal.error, snapshot.resources.values())
        reason = f"{refusal.node} refused it: {words}"
        self._local[key] = Park(key, read, reason, refusal.node, closure)
        log.warning("%s is set aside: %s", key, reason)
        return True

    async def _bad_ones(self, units: Mapping[Key, Unit]) -> Sequence[Key]:
        """Those that an Envoy does not take; all of them if it cannot tell."""
        validator, keys = self._validator, sorted(units)
        if validator is None:
            log.error("no Envoy to ask who is at fault: set NARU_ENVOY_BINARY to its path")
            return keys

        async def accepts(some: Sequence[Key]) -> bool:
            return await validator.accepts([units[key] for key in some])

        try:
            return await bad_ones(keys, accepts) or keys
        except ValidatorError as error:
            log.error("it cannot be told who is at fault: %s", error)
            return keys

    def _parks(self, snapshot: Snapshot) -> dict[Key, Park]:
        """All that is set aside, by unit; some of it may not stand any more."""
        return {**self._stored(snapshot), **self._local}

    def _stored(self, snapshot: Snapshot) -> dict[Key, Park]:
        parks = (self._read(name, record) for name, record in snapshot.family(FAMILY))
        return {park.unit: park for park in parks if park is not None}

    def _read(self, name: str, record: StoredRecord) -> Park | None:
        known = self._decoded.get(name)
        if known is None or known[0] is not record:
            try:
                known = (record, decode(record.value, self._codec))
            except ValueError as error:
                log.error("%s/%s in etcd is %s", FAMILY, name, error)
                return None
            self._decoded[name] = known
        return known[1]


def _is_worth(park: Park, stored: Park | None, snapshot: Snapshot) -> bool:
    """Whether it says something of what is stored now that is not in etcd yet."""
    if park.unit not in snapshot.resources or _is_same(park, stored):
        return False
    return park.read is None or park.stands(snapshot, snapshot.resources)


def _is_same(park: Park, stored: Park | None) -> bool:
    return stored is not None and (stored.read, stored.closure) == (park.read, park.closure)


def _revisions(unit: Unit, snapshot: Snapshot) -> dict[Key, int] | None:
    """The revisions of what a unit is made of; None if any of that has changed since."""
    found = {}
    for key, resource in unit.read:
        stored = snapshot.stored.get(key)
        if stored is None or stored.resource is not resource:
            return None
        found[key] = stored.revision
    return found
