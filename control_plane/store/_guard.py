"""The guard's value: who wrote lately, so that a writer whose answer was lost can find out.

A transaction whose answer never came may have been applied. Sending it again is safe, because it
compares the guard's revision and so can be applied once at most; but when the second one *fails*
the comparison, either the first was applied or another writer won. The ids in the guard tell which.
"""

from __future__ import annotations

from typing import Literal

import orjson

from control_plane.store._records import Record
from control_plane.store.model import Guard

REMEMBERED = 16


def encode(before: Guard, write_id: str) -> bytes:
    """The value that a write with this id puts: itself, and its latest predecessors."""
    recent = sorted(before.writes.items(), key=lambda item: item[1])[-(REMEMBERED - 1) :]
    return orjson.dumps({"id": write_id, "before": dict(recent)})


def decode(record: Record | None) -> Guard:
    """The guard in a record; a foreign value counts as a write by an unknown writer."""
    if record is None:
        return Guard()
    try:
        value = orjson.loads(record.value)
        writes = {str(key): int(revision) for key, revision in value["before"].items()}
        writes[str(value["id"])] = record.modified
    except (ValueError, TypeError, LookupError, AttributeError):
        writes = {}
    return Guard(record.modified, record.version, writes)


def fate(write_id: str, before: Guard, now: Guard) -> Literal["applied", "lost", "unknown"]:
    """What became of a write that compared `before`, now that the guard is `now` and not `before`.

    `lost` is final: the guard has moved on, so the write cannot be applied any more.
    """
    if write_id in now.writes:
        return "applied"
    since = now.version - before.version
    return "lost" if 0 < since <= len(now.writes) else "unknown"
