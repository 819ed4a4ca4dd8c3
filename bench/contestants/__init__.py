"""Who is measured. A new contestant is a new file, and a line in each of these two tables."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bench.contestants import bare, naru
from bench.contestants._model import (
    Contestant,
    Place,
    Request,
    StartSystem,
    System,
    Unavailable,
    Upstream,
)
from bench.contestants.naru import RESTORED

SYSTEMS: Final[Mapping[str, StartSystem]] = MappingProxyType({"bare": bare.start, **naru.SYSTEMS})
CONTESTANTS: Final[Mapping[str, Contestant]] = MappingProxyType(
    {each.name: each for each in (*bare.CONTESTANTS, *naru.CONTESTANTS)}
)
PEERS: Final = frozenset[str]()
"""Systems that are stopped (SIGSTOP) while they are not measured."""
OURS: Final = ("bare", *(each.name for each in naru.CONTESTANTS))

__all__ = [
    "CONTESTANTS",
    "OURS",
    "PEERS",
    "RESTORED",
    "SYSTEMS",
    "Contestant",
    "Place",
    "Request",
    "StartSystem",
    "System",
    "Unavailable",
    "Upstream",
]
