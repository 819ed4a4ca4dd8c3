"""A unit that a node refused, until something of what it is made of changes.

In etcd it is a record, so that every replica sets the same aside, and knows the last good version
after a restart. The last good version's secrets are sealed in it as in any stored resource.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from control_plane.compile import Hold
from control_plane.resources import Key, Resource
from control_plane.store import Codec, Snapshot, StoreError

FAMILY: Final = "parked"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Park:
    """See the module.

    Attributes:
        unit: what is set aside.
        read: the revisions of what it was made of when it was refused. None if nobody refused it:
            the compiler itself could not take it, and tries again each time.
        reason: what happened, for people.
        node: which node refused it.
        closure: what its last good version was made of; None if it has none.
        certain: false while it is only one of several suspects; that is in no record.
        spent: a node has refused the last good version, too, so no closure may come back.
    """

    unit: Key
    read: Mapping[Key, int] | None
    reason: str
    node: str = ""
    closure: Mapping[Key, Resource] | None = field(default=None, repr=False)
    certain: bool = True
    spent: bool = False

    @property
    def name(self) -> str:
        """The record's."""
        return f"{FAMILY}/{self.unit}"

    def stands(self, snapshot: Snapshot, resources: Mapping[Key, Resource]) -> bool:
        """Whether it speaks of what `resources` are, of which some are not yet in the snapshot."""
        if self.read is None:
            return False
        for key, revision in self.read.items():
            stored = snapshot.stored.get(key)
            if stored is None or stored.revision != revision:
                return False
            if resources.get(key) is not stored.resource:
                return False
        return True

    def says_no_more_than(self, other: Park | None) -> bool:
        """Whether `other`, which is in etcd, makes this one needless there."""
        if other is None or self.read != other.read or self.spent > other.spent:
            return False
        return self.closure is None or other.spent or other.closure is not None

    def hold(self, snapshot: Snapshot, resources: Mapping[Key, Resource]) -> Hold:
        stands = self.stands(snapshot, resources)
        since = max(self.read.values(), default=0) if self.read else 0
        return Hold(self.reason, self.node, self.closure, stands, self.certain, since)

    def encode(self, codec: Codec) -> bytes:
        closure = {
            str(key): orjson.Fragment(codec.encode(resource))
            for key, resource in sorted((self.closure or {}).items())
        }
        read = None
        if self.read is not None:
            read = {str(key): revision for key, revision in sorted(self.read.items())}
        record = {
            "version": _VERSION,
            "unit": str(self.unit),
            "read": read,
            "node": self.node,
            "reason": self.reason,
            "closure": closure or None,
            "spent": self.spent,
        }
        return orjson.dumps(record)


def decode(data: bytes, codec: Codec) -> Park:
    """A park as it was stored. One whose last good version cannot be read any more has none.

    Raises:
        ValueError: it is no such record.
    """
    try:
        found = orjson.loads(data)
        read = found["read"] and {_key(k): int(at) for k, at in found["read"].items()}
        closure = _closure(found["closure"], codec)
        words = str(found["reason"]), str(found["node"])
        return Park(_key(found["unit"]), read, *words, closure, spent=bool(found["spent"]))
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError("it is not of a resource that is set aside") from error


def _closure(found: Mapping[str, object] | None, codec: Codec) -> Mapping[Key, Resource] | None:
    if not found:
        return None
    try:  # a secret may be sealed with a key that is not there any more
        keys = {text: _key(text) for text in found}
        return {key: codec.decode(key, orjson.dumps(found[text])) for text, key in keys.items()}
    except StoreError:
        return None


def _key(text: str) -> Key:
    plural, _, name = text.partition("/")
    return Key(plural, name)
