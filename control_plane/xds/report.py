"""What one node is reported to be, by the replica of the control plane that it is connected to.

A plain value, and its JSON as it lies in etcd, where every replica reads it. Of what a replica of a
later day adds, nothing is read; what cannot be read at all is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from control_plane.compile.model import TYPES

MAX_WORDS = 4
MAX_TEXT = 1024
_SHORT = {type_url.rpartition(".")[2]: type_url for type_url in TYPES}


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type at one node: the version it acknowledged last, and why it refused the newest."""

    version: str
    pending: bool
    error: str


@dataclass(frozen=True, slots=True)
class Report:
    """One node.

    Attributes:
        replica: who reports.
        connected: off while the node has just left that replica and may be on its way to another.
        added: the newest revision that its replica has moved to, or tried to, and of which the node
            has acknowledged all that is additive.
        turn: how many times that replica has tried that revision.
        back: that move was a refused one's way back: it has acknowledged the last good one again.
        routed: it has acknowledged the routes of the same move, too.
        applied: the revision whose routes and all it uses.
        holds: the revisions whose routes it may be using.
        silent: it has not answered for as long as anybody is waited for.
        rejects: the newest revision that was rejected because this node refused it.
        examining: it is being found out what was wrong with that one.
        words: why it refused revisions.
    """

    node: str
    replica: str
    cluster: str = ""
    user_agent: str = ""
    connected: bool = True
    added: int = 0
    turn: int = 1
    back: bool = False
    routed: bool = False
    applied: int = 0
    holds: frozenset[int] = frozenset()
    silent: bool = False
    rejects: int = 0
    examining: bool = False
    words: Mapping[int, str] = field(default_factory=dict)
    types: Mapping[str, TypeStatus] = field(default_factory=dict, compare=False)


def encode(report: Report) -> bytes:
    """JSON; what is not told is as in a report of nothing."""
    value: dict[str, Any] = {
        "node": report.node,
        "replica": report.replica,
        "cluster": report.cluster,
        "agent": report.user_agent,
        "gone": not report.connected,
        "added": report.added,
        "turn": report.turn if report.turn != 1 else 0,
        "back": report.back,
        "routed": report.routed,
        "applied": report.applied,
        "holds": sorted(report.holds),
        "silent": report.silent,
        "rejects": report.rejects,
        "examining": report.examining,
        "words": {str(revision): text for revision, text in report.words.items()},
        "types": {
            url.rpartition(".")[2]: [found.version, int(found.pending), found.error[:MAX_TEXT]]
            for url, found in report.types.items()
            if url in TYPES
        },
    }
    return orjson.dumps({key: told for key, told in value.items() if told})


def decode(data: bytes) -> Report | None:
    """The report in a value; None if it is none."""
    try:
        value = orjson.loads(data)
        return Report(
            node=_text(value["node"]),
            replica=_text(value["replica"]),
            cluster=_text(value.get("cluster", "")),
            user_agent=_text(value.get("agent", "")),
            connected=not value.get("gone", False),
            added=int(value.get("added", 0)),
            turn=int(value.get("turn", 1)),
            back=bool(value.get("back", False)),
            routed=bool(value.get("routed", False)),
            applied=int(value.get("applied", 0)),
            holds=frozenset(map(int, value.get("holds", ()))),
            silent=bool(value.get("silent", False)),
            rejects=int(value.get("rejects", 0)),
            examining=bool(value.get("examining", False)),
            words={int(key): _text(text) for key, text in value.get("words", {}).items()},
            types={
                _SHORT[short]: TypeStatus(_text(version), bool(pending), _text(error))
                for short, (version, pending, error) in value.get("types", {}).items()
                if short in _SHORT
            },
        )
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value
