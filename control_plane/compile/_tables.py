"""All resources of all units by type and name, kept from one revision to the next.

Two units may give the same resource (a secret that both send), so each is counted; the newest value
wins. What was handed out is never changed: a table is copied before the first change, and one that
does not change stays the same object, so that nobody need compare it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from control_plane.compile.model import TYPES, Unit, XdsResource

Table = dict[str, XdsResource]


class Tables:
    """See the module."""

    def __init__(self, units: Iterable[Unit] = (), extra: Iterable[XdsResource] = ()) -> None:
        self._tables: dict[str, Table] = {type_url: {} for type_url in TYPES}
        self._givers: Counter[tuple[str, str]] = Counter()
        self.swap((), units)
        self.put(*extra)

    @property
    def all(self) -> Mapping[str, Mapping[str, XdsResource]]:
        """As they are now."""
        return dict(self._tables)

    def has(self, unit: Unit) -> bool:
        """Whether all that it gives is there as it gives it."""
        return all(self._tables[x.type_url][x.name].version == x.version for x in unit.resources)

    def swap(self, old: Iterable[Unit], new: Iterable[Unit]) -> None:
        """Units go, and others come."""
        copies: dict[str, Table] = {}
        for xds in (each for unit in new for each in unit.resources):
            self._givers[xds.type_url, xds.name] += 1
            self._put(xds, copies)
        for xds in (each for unit in old for each in unit.resources):
            self._givers[xds.type_url, xds.name] -= 1
            if not self._givers[xds.type_url, xds.name]:
                del self._givers[xds.type_url, xds.name]
                del self._copy(xds.type_url, copies)[xds.name]

    def put(self, *resources: XdsResource) -> None:
        """What no unit gives."""
        copies: dict[str, Table] = {}
        for xds in resources:
            self._put(xds, copies)

    def _put(self, xds: XdsResource, copies: dict[str, Table]) -> None:
        now = self._tables[xds.type_url].get(xds.name)
        if now is None or now.version != xds.version:
            self._copy(xds.type_url, copies)[xds.name] = xds

    def _copy(self, type_url: str, copies: dict[str, Table]) -> Table:
        if type_url not in copies:
            copies[type_url] = self._tables[type_url] = dict(self._tables[type_url])
        return copies[type_url]
