"""Everything in etcd that holds sealed values: which keys seal it, and sealing it anew. Pure.

Works on the stored bytes, so that documents which are not valid any more are found and sealed anew,
too; no secret is opened for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from control_plane.resources import KINDS, Key
from control_plane.store import codec, versions
from control_plane.store._layout import Layout
from control_plane.store._records import Record
from control_plane.store.codec import Rewrap
from control_plane.store.errors import StoreError
from control_plane.store.model import Guard

PRIMARY: Final = "keys/primary"
"""The record that names the key which seals; its value is the id."""


_PLURALS: Final = {kind.__name__: plural for plural, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Listing:
    """All records that may hold sealed values, at one revision.

    Attributes:
        primary: the id of the key that seals; None before the first rotation.
    """

    guard: Guard
    primary: str | None
    records: tuple[Record, ...] = field(repr=False)

    def usage(self) -> Counter[str]:
        """How many values each key seals, by its id."""
        return Counter(kek for record in self.records for kek in _keks(record.value))


@dataclass(frozen=True, slots=True)
class Batch:
    """New values by etcd's key; how many sealed values they hold, and how many cannot be done."""

    puts: Mapping[bytes, bytes] = field(repr=False)
    values: int
    failed: int


def prefixes(layout: Layout) -> tuple[bytes, ...]:
    """Where sealed values can be."""
    kinds = sorted(plural for plural, kind in KINDS.items() if kind.write_only)
    return (*(layout.resources(plural) for plural in kinds), layout.records)


def batch(
    layout: Layout, records: Iterable[Record], primary: str, rewrap: Rewrap, most: int, size: int
) -> Batch:
    """The next `most` records, of `size` bytes at most, that another key than `primary` seals."""
    puts: dict[bytes, bytes] = {}
    values = failed = taken = 0
    for record in records:
        others = sum(kek != primary for kek in _keks(record.value))
        if not others:
            continue
        if len(puts) >= most or (puts and taken + len(record.value) > size):
            break
        try:
            puts[record.key] = _resealed(layout, record, rewrap)
        except (StoreError, ValueError, LookupError, TypeError, AttributeError):
            failed += others
            continue
        values += others
        taken += len(record.value)
    return Batch(puts, values, failed)


def _resealed(layout: Layout, record: Record, rewrap: Rewrap) -> bytes:
    key = layout.key(record.key)
    if key is not None:
        return codec.resealed(key, record.value, record.modified, rewrap)
    family, _, name = (layout.record_name(record.key) or "").partition("/")
    if family == versions.FAMILY:
        return versions.resealed(name, record.value, rewrap)
    content = orjson.loads(record.value)
    for inner in _documents(content):
        plural = _PLURALS[inner["kind"]]
        codec.reseal(Key(plural, inner["metadata"]["name"]), inner, rewrap)
    return orjson.dumps(content)


def _documents(node: Any) -> Iterable[dict[str, Any]]:
    """The stored resources inside a record: they are sealed as in their own place."""
    if isinstance(node, dict):
        if node.get("kind") in _PLURALS and "spec" in node and "metadata" in node:
            yield node
        else:
            for value in node.values():
                yield from _documents(value)


def _keks(value: bytes) -> list[str]:
    try:
        return list(_found(orjson.loads(value)))
    except orjson.JSONDecodeError:
        return []


def _found(node: Any) -> Iterable[str]:
    """The ids in all envelopes below a node."""
    if isinstance(node, dict):
        sealed = node.get("sealed")
        if isinstance(sealed, dict) and isinstance(sealed.get("kek"), str):
            yield sealed["kek"]
        else:
            for value in node.values():
                yield from _found(value)
    elif isinstance(node, list):
        for value in node:
            yield from _found(value)
