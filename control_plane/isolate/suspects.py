"""Which units may be why a node refused a response. Pure.

Envoy names the clusters that it refuses, and a worker the plans; of routes, which are one resource,
nobody tells which proxy's they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from control_plane.compile import ROUTE, Compiled, Unit
from control_plane.resources import Key
from control_plane.xds import Refusal

Units = Mapping[Key, Unit]


def named(refusal: Refusal) -> frozenset[Key]:
    """The units whose resources the node's own words name, and those made of them."""
    bad, changed = set(refusal.named), _changed(refusal.target, refusal.last_good)
    at_fault = {key for key, unit in changed.items() if _is_in(unit, refusal, bad)}
    return frozenset(at_fault | set(_made_of(at_fault, changed)))


def suspected(refusal: Refusal) -> Units:
    """All units that changed and had a part in the refused response."""
    names = set(refusal.names)
    return {
        key: unit
        for key, unit in _changed(refusal.target, refusal.last_good).items()
        if (unit.route is not None if refusal.type_url == ROUTE else _is_in(unit, refusal, names))
    }


def with_users(keys: Iterable[Key], refusal: Refusal) -> frozenset[Key]:
    """The units, and the changed ones that are made of them."""
    found = frozenset(keys)
    return found | set(_made_of(found, _changed(refusal.target, refusal.last_good)))


def _is_in(unit: Unit, refusal: Refusal, names: set[str]) -> bool:
    return any(x.type_url == refusal.type_url and x.name in names for x in unit.resources)


def _changed(target: Compiled, last_good: Compiled | None) -> Units:
    """What the target has, and the last good one has not, or not so."""
    if last_good is None:
        return target.units
    before = last_good.units
    return {
        key: unit
        for key, unit in target.units.items()
        if before.get(key) is not unit and not _gives_nothing_new(unit, before.get(key), last_good)
    }


def _gives_nothing_new(unit: Unit, before: Unit | None, last_good: Compiled) -> bool:
    """Whether it is what it was, if another object: such as a last good version, held."""
    known = last_good.resources
    same_route = before is not None and before.route == unit.route
    return same_route and all(known.get(x.type_url, {}).get(x.name) == x for x in unit.resources)


def _made_of(keys: Iterable[Key], units: Units) -> Iterable[Key]:
    wanted = set(keys)
    for key, unit in units.items():
        if any(read in wanted for read, _ in unit.read):
            yield key
