"""The nodes' keys as they are followed: listings and watch messages in, what changed out.

The same two promises as `_state.py`, with less to them: a change is neither lost nor told twice,
and where the history has gone the next listing tells what is different. Values are bytes. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from control_plane.store._records import (
    Compacted,
    Created,
    Deleted,
    Events,
    Progress,
    Record,
    WatchMessage,
)

Changed = Mapping[bytes, bytes | None]
"""New values by key; None: the key is gone."""


class NodesState:
    """See the module. While `position` is None the shell lists, else it watches from there."""

    def __init__(self) -> None:
        self._cluster = 0
        self._values: dict[bytes, bytes] = {}
        self._held: list[Record | Deleted] = []
        self.position: int | None = None

    def listed(self, cluster: int, revision: int, records: Iterable[Record]) -> Changed:
        """Everything that there is at `revision`."""
        values = {record.key: record.value for record in records}
        changed: dict[bytes, bytes | None] = {
            key: value for key, value in values.items() if self._values.get(key) != value
        }
        changed.update(dict.fromkeys(self._values.keys() - values.keys()))
        self._cluster, self._values, self.position = cluster, values, revision + 1
        return changed

    def receive(self, message: WatchMessage) -> Changed:
        """One message of the watch."""
        match message:
            case Created(cluster, revision):
                self._created(cluster, revision)
            case Compacted():
                self.position = None
            case Progress(revision) if not self._held and self.position is not None:
                self.position = max(self.position, revision + 1)
            case Events(events, fragment):
                self._held.extend(events)
                return {} if fragment else self._apply()
            case _:
                pass
        return {}

    def _created(self, cluster: int, revision: int) -> None:
        self._held.clear()
        if self.position is None:
            return
        if revision < self.position - 1 or cluster != self._cluster:
            self.position = None

    def _apply(self) -> Changed:
        events, self._held = self._held, []
        if self.position is None:
            return {}
        changed: dict[bytes, bytes | None] = {}
        for event in events:
            if event.modified < self.position:
                continue
            changed[event.key] = event.value if isinstance(event, Record) else None
        for key, value in changed.items():
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value
        self.position = max([self.position, *(event.modified + 1 for event in events)])
        return changed
