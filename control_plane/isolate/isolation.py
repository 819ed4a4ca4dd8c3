"""What is set aside, and why: in etcd for all replicas, and here until it is there.

    a node refuses ─► it names who is at fault        ─► these are set aside
                   └► it does not: all that changed is set aside for a moment, so that nobody waits;
                      an Envoy is asked offline which of them it is ─► the others are let go again

With nothing known to be good (the first target of a start) nothing is set aside on suspicion: the
nodes go on with what they have until it is known who is at fault.

Pure but for `examine`, which runs Envoy several times, and `save`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakKeyDictionary

from control_plane.compile import Compiled, Hold, Unit
from control_plane.isolate import suspects
from control_plane.isolate.culprits import Findings, Validator, culprits
from control_plane.isolate.park import Park
from control_plane.isolate.records import Records
from control_plane.redact import redacted
from control_plane.resources import Key, Resource
from control_plane.store import Build, Codec, Snapshot
from control_plane.xds import Refusal

log = logging.getLogger("naru.isolate")

REFUSED: Final = "refused it"
UNCLEARED: Final = "refused it among others, and it was not cleared in time"
"""With the next edit it is tried again."""
MOST_WORDS: Final = 1024
"""Characters of a node's words that are kept with each unit."""
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class _Case:
    """A refusal of which it is not known yet who is at fault.

    Attributes:
        units: the suspects.
        before: what was known of those of them that are set aside for the moment.
        reads: what these are made of.
    """

    units: Mapping[Key, Unit]
    before: Mapping[Key, Park | None]
    reads: Mapping[Key, Mapping[Key, int] | None]


class Isolation:
    """See the module. `validator` is None where there is no Envoy to ask."""

    def __init__(
        self,
        codec: Codec,
        commit: Callable[[Build], Awaitable[int]],
        validator: Validator | None = None,
    ) -> None:
        self._records = Records(codec, commit)
        self._validator = validator
        self._local: dict[Key, Park] = {}  # known here, and perhaps not yet in etcd
        # Weak: a refusal whose pursuit fails is never examined.
        self._cases: WeakKeyDictionary[Refusal, _Case] = WeakKeyDictionary()
        self._edition = 0

    @property
    def edition(self) -> int:
        """Another number whenever `holds` may have changed, though the snapshot has not."""
        return self._edition

    def holds(
        self, snapshot: Snapshot, resources: Mapping[Key, Resource] | None = None
    ) -> dict[Key, Hold]:
        """What the compiler must not take as it is. `resources` if they are not the snapshot's."""
        present = snapshot.resources if resources is None else resources
        return {key: park.hold(snapshot, present) for key, park in self._parks(snapshot).items()}

    def refused(self, refusal: Refusal, snapshot: Snapshot) -> bool:
        """Sets aside who is, or may be, at fault; whether compiling again gives something else."""
        at_fault = suspects.named(refusal)
        units = {} if at_fault else suspects.suspected(refusal)
        if len(units) == 1:
            at_fault, units = frozenset(units), {}
        news = snapshot.revision > refusal.target.revision
        if not units:
            return self._set_aside(at_fault, refusal, snapshot, certain=True) or news
        before: dict[Key, Park | None] = {}
        if refusal.last_good is not None:
            parks = self._parks(snapshot)
            before = {key: parks.get(key) for key in units}
            news |= self._set_aside(units, refusal, snapshot, certain=False)
        reads = {key: self._local[key].read for key in before if key in self._local}
        self._cases[refusal] = _Case(units, before, reads)
        return news

    async def examine(self, refusal: Refusal, current: Callable[[], Snapshot]) -> bool:
        """Finds out who of the suspects it is, and lets the others go; whether that changes
        anything. `current` gives the newest snapshot."""
        case = self._cases.get(refusal)
        if case is None:
            return False
        found = await culprits(case.units, self._validator)
        del self._cases[refusal]
        if found is None:
            return self._acquit(case, frozenset(case.before))
        guilty = suspects.with_users(found.guilty, refusal)
        unclear = suspects.with_users(found.uncleared, refusal) - guilty
        _tell(case, found)
        news = self._acquit(case, guilty, unclear)
        for keys, verdict in ((guilty, REFUSED), (unclear, UNCLEARED)):
            rest = keys - case.before.keys()
            news |= self._set_aside(rest, refusal, current(), certain=True, verdict=verdict)
        return news

    def found(self, compiled: Compiled, good: Compiled | None, snapshot: Snapshot) -> bool:
        """Keeps the last good version of what is aside, whyever; whether that is news.

        `good` is what a node is known to use.
        """
        # Only by what is compiled: the compiler knows nothing of what newer snapshots hold.
        self._forget(snapshot)
        if not compiled.aside or good is None:
            return False
        parks, news = self._parks(snapshot), False
        for key, aside in compiled.aside.items():
            closure = _closure_in(good, key, snapshot)
            known = parks.get(key) or Park(key, None, aside.reason)
            if known.read is None:  # it is as certain as what it uses
                known = replace(known, certain=aside.certain)
            if closure is not None and not known.spent and known.closure != closure:
                self._local[key] = replace(known, closure=closure)
                news = True
            elif key in self._local:
                self._local[key] = known
        return news

    async def save(self, mended: Mapping[Key, Park] | None = None) -> None:
        """Writes to etcd what is certain, and removes what is mended.

        Raises:
            StoreError: etcd is away; to be tried again.
        """
        gone = mended or {}
        for key, park in gone.items():
            if self._local.get(key) is park:
                del self._local[key]
                self._edition += 1
        await self._records.save(lambda: self._local, gone)

    def unsaved(self, snapshot: Snapshot) -> bool:
        """Whether `save` has something to write, or to remove."""
        return bool(self._records.changes(self._local, snapshot))

    def mended(self, compiled: Compiled, snapshot: Snapshot) -> dict[Key, Park]:
        """What was set aside once, and is compiled like everything else now."""
        return {
            key: park
            for key, park in self._parks(snapshot).items()
            if key in compiled.units
            and key not in compiled.aside
            and not park.stands(snapshot, snapshot.resources)
        }

    def _parks(self, snapshot: Snapshot) -> dict[Key, Park]:
        """All that is set aside, by unit; some of it may not stand any more."""
        return {**self._records.read(snapshot), **self._local}

    def _forget(self, snapshot: Snapshot) -> None:
        """Drop what is in etcd by now, or whose resource is gone."""
        if self._local:
            stored = self._records.read(snapshot)
            self._local = {
                key: park
                for key, park in self._local.items()
                if key in snapshot.resources and not park.says_no_more_than(stored.get(key))
            }

    def _set_aside(
        self,
        keys: Iterable[Key],
        refusal: Refusal,
        snapshot: Snapshot,
        *,
        certain: bool,
        verdict: str = REFUSED,
    ) -> bool:
        """Whether any of them could be."""
        words = redacted(refusal.error, snapshot.resources.values())[:MOST_WORDS]
        reason, parks = f"{refusal.node} {verdict}: {words}", self._parks(snapshot)
        done = []
        for key in sorted(keys):
            park = _park(key, reason, refusal, snapshot, parks.get(key))
            if park is not None:
                self._local[key] = replace(park, certain=certain)
                done.append(key)
        if done:
            self._edition += 1
            for_now = "" if certain else " for the moment"
            log.warning("set aside%s: %s: %r", for_now, _listed(done), reason)
        return bool(done)

    def _acquit(self, case: _Case, guilty: Set[Key], unclear: Set[Key] = frozenset()) -> bool:
        """Keeps aside who is, or may be, at fault, and lets the others go."""
        news = False
        for key, before in case.before.items():
            park = self._local.get(key)
            if park is None or park.certain or park.read != case.reads.get(key):
                continue  # it has changed since
            news = True
            if key in guilty:
                self._local[key] = replace(park, certain=True)
            elif key in unclear:
                self._local[key] = _uncleared(park)
            elif before is None:
                del self._local[key]
            else:
                self._local[key] = before
        self._edition += news
        return news


def _uncleared(park: Park) -> Park:
    """It stays aside. One that was refused before keeps the reason of that."""
    head, words = f"{park.node} {REFUSED}: ", park.reason
    if words.startswith(head):
        words = f"{park.node} {UNCLEARED}: {words.removeprefix(head)}"
    return replace(park, certain=True, reason=words)


def _tell(case: _Case, found: Findings) -> None:
    if found.guilty:
        log.warning("of %d changes these are at fault: %s", len(case.units), _listed(found.guilty))
    if found.uncleared:
        log.warning("these were not cleared in time: %s", _listed(found.uncleared))


def _park(
    key: Key, reason: str, refusal: Refusal, snapshot: Snapshot, known: Park | None
) -> Park | None:
    """What is to be said of a unit that was refused; None: it has changed since."""
    unit, good = refusal.target.units[key], refusal.last_good
    closure = None if good is None or key not in good.units else dict(good.units[key].read)
    if key in refusal.target.aside:
        if known is None:
            return None
        # It was its last good version that was refused now.
        spent = closure is None or closure == dict(unit.read)
        return replace(known, closure=None if spent else closure, spent=spent)
    read = _revisions(unit, snapshot)
    if read is None:
        return None
    kept = known.closure if known is not None else None
    return Park(key, read, reason, refusal.node, closure or kept)


def _revisions(unit: Unit, snapshot: Snapshot) -> dict[Key, int] | None:
    """The revisions of what a unit is made of; None if any of that has changed since."""
    found = {}
    for key, resource in unit.read:
        stored = snapshot.stored.get(key)
        if stored is None or stored.resource is not resource:
            return None
        found[key] = stored.revision
    return found


def _closure_in(good: Compiled, key: Key, snapshot: Snapshot) -> Mapping[Key, Resource] | None:
    """What a unit was made of when it was good; None if it was not, or if that is what is stored
    now, of which another node thinks otherwise."""
    unit = good.units.get(key)
    if unit is None or key in good.aside or unit.still_holds(snapshot.resources):
        return None
    return dict(unit.read)


def _listed(keys: Iterable[Key]) -> str:
    names = sorted(map(str, keys))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
