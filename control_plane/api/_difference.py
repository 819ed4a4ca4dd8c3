"""What a change would do to Envoy and ext_proc: two compiled revisions, compared by version."""

from __future__ import annotations

from typing import Literal, NamedTuple

from control_plane.compile.model import TYPES, Compiled


class Difference(NamedTuple):
    """One xDS resource that is not the same in both."""

    type: str
    name: str
    change: Literal["added", "changed", "removed"]


def difference(before: Compiled, after: Compiled) -> list[Difference]:
    """Every difference, by type (in the order in which a change is sent) and name."""
    return [found for type_url in TYPES for found in _of_type(type_url, before, after)]


def short(type_url: str) -> str:
    """`type.googleapis.com/envoy.config.cluster.v3.Cluster` → `Cluster`."""
    return type_url.rpartition(".")[2]


def _of_type(type_url: str, before: Compiled, after: Compiled) -> list[Difference]:
    old, new = before.resources.get(type_url, {}), after.resources.get(type_url, {})
    found = []
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            found.append(Difference(short(type_url), name, "added"))
        elif name not in new:
            found.append(Difference(short(type_url), name, "removed"))
        elif old[name].version != new[name].version:
            found.append(Difference(short(type_url), name, "changed"))
    return found
