"""The audit trail: one entry for each write, in the same transaction; nothing changes one later.

Each entry holds the SHA-256 of the one before, and the record `audit/head` that of the newest, so
that an entry that was altered or taken out shows, also at the end. It is no proof against somebody
who rewrites the whole trail and the head in etcd itself: for that, note a head elsewhere.

An entry says who, when, from where, what was done to which resources, and why; never a content. Of
a token it says the roles and teams besides, and which key it is that seals from then on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

import orjson

from control_plane.access import tokens
from control_plane.access.model import Caller
from control_plane.resources import KINDS
from control_plane.store import Changes, Snapshot, StoredRecord

HEAD: Final = "audit/head"
_FAMILIES: Final = {"tokens": "Token", "keys": "Key"}
"""Records that people write; others only go with what they write."""
_NONE: Final = "0" * 64
"""What the first entry names as its predecessor."""


@dataclass(frozen=True, slots=True)
class Act:
    """A request that writes.

    Attributes:
        action: the API's method and path, such as `PUT /api/v1/proxies/menu-copy`.
        client: the address that the connection comes from; a proxy in front hides others.
        message: why, in the caller's words.
    """

    caller: Caller
    action: str
    request_id: str = ""
    client: str = ""
    message: str | None = None


def written(snapshot: Snapshot, changes: Changes, act: Act, now: float) -> Changes:
    """The changes with their entry; what changes nothing stays so, and leaves no entry."""
    if not changes:
        return changes
    number, previous = _head(snapshot.records.get(HEAD))
    entry = _dumps({
        "number": number + 1,
        "previous": previous,
        "time": _rfc3339(now),
        "actor": {"id": act.caller.id, "name": act.caller.name},
        "action": act.action,
        "request_id": act.request_id,
        "client": act.client,
        "message": act.message,
        "resources": list(_resources(snapshot, changes)),
    })  # fmt: skip
    head = _dumps({"number": number + 1, "hash": _hash(entry)})
    return replace(changes, records={**changes.records, HEAD: head}, audit=entry)


@dataclass(frozen=True, slots=True)
class Verification:
    """What became of checking the trail.

    Attributes:
        entries: how many there are.
        first: number of the first; above 1: those before are not there (any more).
        head: number and hash of the newest, as the head says; to be noted elsewhere.
        problems: what is wrong, in words; empty: the chain is whole.
    """

    entries: int
    first: int
    head: tuple[int, str]
    problems: tuple[str, ...]


class Trail:
    """Checks entries as they are read, in any order: replicas' clocks differ a little."""

    def __init__(self) -> None:
        self._links: dict[int, tuple[str, str]] = {}
        self._problems: list[str] = []

    def add(self, key: str, value: bytes) -> None:
        """One entry's bytes, under the key where it lies."""
        try:
            found = orjson.loads(value)
            number, previous = int(found["number"]), str(found["previous"])
        except (ValueError, TypeError, LookupError):
            self._problems.append(f"{key} is no entry")
            return
        if number in self._links:
            self._problems.append(f"entry {number} is there twice")
        self._links[number] = (previous, _hash(value))

    def verified(self, head: StoredRecord | None) -> Verification:
        """What the entries and the head, all read at one revision, say together."""
        numbers = sorted(self._links)
        number, digest = _head(head)
        problems = [*self._problems, *self._broken(numbers), *self._against(number, digest)]
        return Verification(
            len(numbers), numbers[0] if numbers else 0, (number, digest), tuple(problems[:100])
        )

    def _broken(self, numbers: list[int]) -> Iterator[str]:
        if numbers and numbers[0] == 1 and self._links[1][0] != _NONE:
            yield "entry 1 names a predecessor"
        for before, after in pairwise(numbers):
            if after != before + 1:
                yield f"entries {before + 1} to {after - 1} are missing, or written again"
            elif self._links[after][0] != self._links[before][1]:
                yield f"entry {before} was altered, or entry {after} was"

    def _against(self, number: int, digest: str) -> Iterator[str]:
        last = max(self._links, default=0)
        if last < number:
            yield f"entries {last + 1} to {number} are missing, or written again"
        elif last > number:
            yield f"the head says that entry {number} is the newest, but there is {last}"
        elif number and self._links[number][1] != digest:
            yield f"entry {number} was altered, or the head was"


def _resources(snapshot: Snapshot, changes: Changes) -> Iterator[dict[str, Any]]:
    for key in sorted(changes.puts):
        yield _one(
            KINDS[key.plural].__name__, key.name, "updated" if key in snapshot.stored else "created"
        )
    for key in sorted(changes.deletes):
        yield _one(KINDS[key.plural].__name__, key.name, "deleted")
    for record, value in sorted(changes.records.items()):
        family, _, name = record.partition("/")
        if family in _FAMILIES:
            change = "updated" if record in snapshot.records else "created"
            one = _one(_FAMILIES[family], name, "deleted" if value is None else change)
            before = snapshot.records.get(record)
            held = before.value if value is None and before is not None else value
            yield one | (_DETAILS[family](name, held) if held is not None else {})


def _one(kind: str, name: str, change: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "change": change}


def _of_token(token_id: str, value: bytes) -> dict[str, Any]:
    token = tokens.decode(token_id, value)
    return {} if token is None else {"roles": token.roles, "teams": token.teams}


def _of_key(_: str, value: bytes) -> dict[str, Any]:
    """The record holds the id of the key that seals, which is no secret."""
    return {"id": value.decode(errors="replace")}


_DETAILS: Final[Mapping[str, Callable[[str, bytes], dict[str, Any]]]] = {
    "tokens": _of_token,
    "keys": _of_key,
}


def _head(record: StoredRecord | None) -> tuple[int, str]:
    """Number and hash of the newest entry.

    A head that cannot be read begins a new chain, and the break shows in every later check.
    """
    try:
        found: Mapping[str, Any] = orjson.loads(record.value) if record else {}
        return int(found.get("number", 0)), str(found.get("hash", _NONE))
    except (ValueError, TypeError, AttributeError):
        return 0, _NONE


def _dumps(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def _hash(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def _rfc3339(now: float) -> str:
    at = datetime.fromtimestamp(now, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
