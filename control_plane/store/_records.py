"""What crosses the line between the etcd client and the pure reflector state: plain values.

`_wire.py` makes them out of gRPC messages; `_state.py` consumes them and is tested with them.
Revisions are etcd's, 64-bit, and grow by one with each transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Record:
    """One key as etcd has it."""

    key: bytes
    value: bytes = field(repr=False)
    created: int
    modified: int
    version: int


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing, read at `revision`; `more` if others follow."""

    cluster: int
    revision: int
    records: tuple[Record, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Deleted:
    """A key that was deleted in revision `modified`."""

    key: bytes
    modified: int


@dataclass(frozen=True, slots=True)
class Created:
    """The watch stands; `revision` is the newest that this member of the cluster knows."""

    cluster: int
    revision: int


@dataclass(frozen=True, slots=True)
class Events:
    """Changes in the order of their revisions; `fragment` if more of the same message follow."""

    events: tuple[Record | Deleted, ...]
    fragment: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """Every change up to `revision` has been delivered."""

    revision: int


@dataclass(frozen=True, slots=True)
class Alive:
    """An answer to a probe. Its revision is left out on purpose.

    etcd before 3.5.8 may answer with a revision whose events are still to come (etcd #15220), so it
    must not move the position of a watch.
    """


@dataclass(frozen=True, slots=True)
class Compacted:
    """The revision asked for is gone: the history begins after `revision`."""

    revision: int


WatchMessage = Created | Events | Progress | Alive | Compacted
