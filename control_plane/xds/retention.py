"""What old route generations still need: resources that no newer revision names, kept until safe.

A generation is the set of resources that routes were compiled with. It is needed as long as its
routes are served or a client may be using them, and its names linger for a while after that (a
request in flight, an Envoy out of reach).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from control_plane.compile.model import XdsResource
from control_plane.xds.serving import is_additive

Resources = Mapping[str, Mapping[str, XdsResource]]


class _Lingering(NamedTuple):
    resource: XdsResource
    until: float


class Retention:
    """Generations by number, and the names that outlived theirs. `linger` is in seconds."""

    def __init__(self, linger: float) -> None:
        self._linger = linger
        self._generations: dict[int, Resources] = {}
        self._lingering: dict[str, dict[str, _Lingering]] = {}
        self._spoiled: dict[int, Resources] = {}

    @property
    def expiry(self) -> float | None:
        """When the next name may go."""
        entries = (entry for names in self._lingering.values() for entry in names.values())
        return min((entry.until for entry in entries), default=None)

    def add(self, generation: int, resources: Resources) -> None:
        self._generations[generation] = resources

    @property
    def generations(self) -> Iterable[int]:
        return self._generations.keys()

    def outlive(self, resources: Resources, now: float) -> None:
        """What never became a generation, but lingers as if it had been one."""
        for type_url in filter(is_additive, resources):
            entries = self._lingering.setdefault(type_url, {})
            for name in self._unnamed(type_url, resources[type_url]):
                entries[name] = _Lingering(resources[type_url][name], now + self._linger)

    def spoil(self, generation: int, good: Resources) -> None:
        """A generation that was refused, or may be: its names go as soon as nobody holds it, but
        for those that something good names, too."""
        self._spoiled[generation] = good

    def release(self, held: Iterable[int], now: float) -> bool:
        """Forgets generations that are not held; what only they named starts to linger.

        Returns whether a spoiled one was among them, so that something is gone at once.
        """
        released = self._generations.keys() - set(held)
        dropped = {generation: self._generations.pop(generation) for generation in sorted(released)}
        for generation, resources in dropped.items():
            good = self._spoiled.get(generation)
            self.outlive(resources if good is None else _common(resources, good), now)
        spoiled = self._spoiled.keys() & released
        for generation in spoiled:
            del self._spoiled[generation]
        return bool(spoiled)

    def expire(self, now: float) -> bool:
        """Drops what has lingered long enough; whether anything was dropped.

        What is named again lingers on: the generation that names it may be refused, and go at once.
        """
        dropped = False
        for entries in self._lingering.values():
            gone = {name for name, entry in entries.items() if entry.until <= now}
            for name in gone:
                del entries[name]
            dropped = dropped or bool(gone)
        return dropped

    def union(self, type_url: str, target: Resources) -> Mapping[str, XdsResource]:
        """The target's resources of a type, and under them what older generations still need."""
        newest = target.get(type_url, {})
        entries = self._lingering.get(type_url, {})
        kept = {name: entries[name].resource for name in entries.keys() - newest.keys()}
        for generation in sorted(self._generations):
            older = self._generations[generation].get(type_url, {})
            kept.update((name, older[name]) for name in older.keys() - newest.keys())
        return {**kept, **newest} if kept else newest

    def _unnamed(self, type_url: str, names: Iterable[str]) -> set[str]:
        """Those of the names that no generation names."""
        unnamed = set(names)
        for resources in self._generations.values():
            unnamed -= resources.get(type_url, {}).keys()
        return unnamed


def _common(resources: Resources, good: Resources) -> Resources:
    """What is in both, by name."""
    both = {t: resources[t].keys() & good[t].keys() for t in resources.keys() & good.keys()}
    return {t: {name: good[t][name] for name in names} for t, names in both.items()}
