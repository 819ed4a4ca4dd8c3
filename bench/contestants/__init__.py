"""Who is measured. A new contestant is a new file, and a line in each of these two tables."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bench.contestants import bare, litellm, naru, portkey
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

SYSTEMS: Final[Mapping[str, StartSystem]] = MappingProxyType(
    {
        "bare": bare.start,
        **naru.SYSTEMS,
        "litellm": litellm.start,
        "portkey": portkey.start,
    }
)
CONTESTANTS: Final[Mapping[str, Contestant]] = MappingProxyType(
    {each.name: each for file in (bare, naru, litellm, portkey) for each in file.CONTESTANTS}
)
PEERS: Final = frozenset(("litellm", "portkey"))
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
