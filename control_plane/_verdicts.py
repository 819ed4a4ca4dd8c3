"""What became of revisions of which a node refused something: kept after it has been mended.

Pure, and of this process alone: a control plane that was started later knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from control_plane.compile import Aside, Compiled
from control_plane.resources import Key
from control_plane.store import Snapshot

MOST: Final = 256
"""Revisions that are remembered."""


class Verdicts:
    """See the module; `note` is told of everything that is compiled, in turn."""

    def __init__(self) -> None:
        self._refused: dict[int, dict[Key, Aside]] = {}
        self._carriers: dict[int, int] = {}
        self._open: frozenset[int] = frozenset()

    def of(self, revision: int) -> Mapping[Key, Aside]:
        """What a node refused of a revision, whatever is live by now."""
        return self._refused.get(revision, {})

    def carrier(self, revision: int) -> int:
        """The revision that brings the rest of this one, if some of it was under suspicion."""
        return max(revision, self._carriers.get(revision, 0))

    def note(self, compiled: Compiled, snapshot: Snapshot) -> None:
        self._acquit(compiled, snapshot)
        still_open = set()
        for key, why in compiled.aside.items():
            if not why.certain:
                still_open.add(written(key, compiled.aside, snapshot))
            elif why.since and why.node:
                self._refused.setdefault(why.since, {})[key] = why
        for revision in self._open | still_open:
            self._carriers[revision] = compiled.revision
        self._open = frozenset(still_open)
        _bound(self._refused)
        _bound(self._carriers)

    def _acquit(self, compiled: Compiled, snapshot: Snapshot) -> None:
        """What is served after all, exactly as it was refused, was not at fault."""
        for revision, refused in list(self._refused.items()):
            for key in refused.keys() & (compiled.units.keys() - compiled.aside.keys()):
                if _newest((k for k, _ in compiled.units[key].read), snapshot) == revision:
                    del refused[key]
            if not refused:
                del self._refused[revision]


def written(key: Key, aside: Mapping[Key, Aside], snapshot: Snapshot) -> int:
    """The revision that made something be aside: of what was refused, of the resource itself if it
    only uses that, or the newest of all that it is made of."""
    why, stored = aside[key], snapshot.stored.get(key)
    if why.since or stored is None:
        return why.since
    if why.below is not None:
        return max(stored.revision, written(why.below, aside, snapshot))
    named = stored.resource.references()
    deeper = (snapshot.resources[k].references() for k in named if k in snapshot.resources)
    return _newest({key, *named}.union(*deeper), snapshot)


def _newest(keys: Iterable[Key], snapshot: Snapshot) -> int:
    found = (snapshot.stored.get(key) for key in keys)
    return max((stored.revision for stored in found if stored is not None), default=0)


def _bound(entries: dict[int, Any]) -> None:
    while len(entries) > MOST:
        del entries[min(entries)]
