"""The records of what is set aside: read once each, and written in as few parts as etcd takes.

Whoever reads them must not rely on seeing all parts of one refusal at the same time.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from control_plane.isolate.park import FAMILY, Park, decode
from control_plane.resources import Key
from control_plane.store import Build, Changes, Codec, Snapshot, StoredRecord, TooLarge

log = logging.getLogger("naru.isolate")

MOST_AT_ONCE: Final = 1000


class Records:
    """See the module; what is too large even alone is kept out of etcd."""

    def __init__(self, codec: Codec, commit: Callable[[Build], Awaitable[int]]) -> None:
        self._codec = codec
        self._commit = commit
        self._known: dict[str, tuple[StoredRecord, Park | None]] = {}
        self._seen: Mapping[str, StoredRecord] | None = None
        self._parks: dict[Key, Park] = {}
        self._too_large: dict[Key, Park] = {}  # with its closure, or even without

    def read(self, snapshot: Snapshot) -> Mapping[Key, Park]:
        """What is in etcd, by unit."""
        if self._seen is not snapshot.records:
            family = list(snapshot.family(FAMILY))
            self._known = {name: self._read(name, record) for name, record in family}
            found = (park for _, park in self._known.values() if park is not None)
            self._parks = {park.unit: park for park in found}
            self._seen = snapshot.records
        return self._parks

    def changes(
        self, local: Mapping[Key, Park], snapshot: Snapshot, gone: Mapping[Key, Park] | None = None
    ) -> dict[str, Park | None]:
        """What is to be written, and with None removed, by record."""
        stored = self.read(snapshot)
        changes: dict[str, Park | None] = {
            park.name: None
            for key, park in stored.items()
            if key not in snapshot.resources
            or (gone and key in gone and not park.stands(snapshot, snapshot.resources))
        }
        for key, park in local.items():
            fit = self._fit(park)
            if fit is not None and _is_worth(fit, stored.get(key), snapshot):
                changes[park.name] = fit
        return changes

    async def save(self, local: Callable[[], Mapping[Key, Park]], gone: Mapping[Key, Park]) -> None:
        """Raises StoreError."""
        most, left = MOST_AT_ONCE, True
        part: dict[str, Park | None] = {}

        def build(snapshot: Snapshot) -> Changes:
            nonlocal part, left
            changes = sorted(self.changes(local(), snapshot, gone).items())
            part, left = dict(changes[:most]), len(changes) > most
            return Changes(
                records={
                    name: None if park is None else park.encode(self._codec)
                    for name, park in part.items()
                }
            )

        while left:
            try:
                await self._commit(build)
            except TooLarge:
                left = True
                if len(part) > 1:
                    most = len(part) // 2
                else:
                    self._give_up(next(iter(part.values())))

    def _fit(self, park: Park) -> Park | None:
        """As much of it as etcd takes."""
        known = self._too_large.get(park.unit)
        if known is None or known.read != park.read:
            return park
        return replace(park, closure=None) if known.closure is not None else None

    def _give_up(self, park: Park | None) -> None:
        if park is None:
            raise TooLarge("a record that is removed is too large: this is a fault of the product")
        log.error("what is known of %s is too large for etcd: it is kept here alone", park.unit)
        self._too_large[park.unit] = park

    def _read(self, name: str, record: StoredRecord) -> tuple[StoredRecord, Park | None]:
        known = self._known.get(name)
        if known is not None and known[0] is record:
            return known
        try:
            return record, decode(record.value, self._codec)
        except Exception as error:  # one bad record must never stop everything else
            why = str(error) if isinstance(error, ValueError) else type(error).__name__
            log.error("%s/%s in etcd cannot be read: %s", FAMILY, name, why)
            return record, None


def _is_worth(park: Park, stored: Park | None, snapshot: Snapshot) -> bool:
    """Whether it says something of what is stored now that is not in etcd yet."""
    if not park.certain or park.unit not in snapshot.resources or park.says_no_more_than(stored):
        return False
    return park.read is None or park.stands(snapshot, snapshot.resources)
