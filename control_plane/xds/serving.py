"""What the server serves at one moment: a table of resources per type, and how two moments differ.

Plain values. What is served is decided in `switch.py`; who is sent what, in `subscription.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from control_plane.compile.model import LISTENER, ROUTE, TYPES, XdsResource

ROUTING = (LISTENER, ROUTE)
"""The types that name others. All the rest is additive: it does nothing until a route names it."""


class Stamp(NamedTuple):
    """When a response was built: in which attempt of the switch, and under which routes."""

    epoch: int
    generation: int


class Table:
    """The resources of one type by name; compared by identity, never changed."""

    def __init__(self, resources: Mapping[str, XdsResource]) -> None:
        self.resources = resources

    @cached_property
    def version(self) -> str:
        """`version_info` of a client that sees all of it."""
        return version_of(self.resources.values())

    def changed_since(self, old: Table | None) -> frozenset[str]:
        """The names that were added, removed or changed since `old`."""
        if old is None:
            return frozenset(self.resources)
        before, now = old.resources, self.resources
        # One plain loop, no calls: 10,000 names cost a millisecond here for every edit.
        changed = {
            name
            for name, new in now.items()
            if (was := before.get(name)) is not new and (was is None or was.version != new.version)
        }
        added = sum(name not in before for name in changed)
        if len(before) + added > len(now):
            changed |= before.keys() - now.keys()
        return frozenset(changed)


@dataclass(frozen=True, slots=True)
class Serving:
    """All that is served: a type that is missing here is answered with nothing.

    `revision` is the one whose routes are served, or were last; `routed` says whether any are.
    """

    stamp: Stamp
    revision: int
    tables: Mapping[str, Table] = field(repr=False)
    routed: bool = False


NOTHING = Serving(Stamp(0, 0), 0, {})


def is_additive(type_url: str) -> bool:
    return type_url not in ROUTING


def in_send_order(type_urls: Iterable[str]) -> list[str]:
    """Additive types first, in the order of `TYPES`; types nobody knows after the known ones."""
    known = {type_url: rank for rank, type_url in enumerate(TYPES)}
    return sorted(
        type_urls, key=lambda url: (not is_additive(url), known.get(url, len(TYPES)), url)
    )


def version_of(resources: Iterable[XdsResource]) -> str:
    """A hash over the sorted names and versions: the same content has the same version anywhere."""
    lines = sorted(f"{resource.name}\0{resource.version}\n" for resource in resources)
    return hashlib.blake2b("".join(lines).encode(), digest_size=8).hexdigest()
