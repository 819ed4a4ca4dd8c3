"""A snapshot of resources → everything that Envoy and ext_proc are told. Pure: no I/O.

Each proxy and each upstream is a *unit*, compiled by itself: one that cannot be compiled, or that a
node has refused, is set aside, and its last good version takes its place, if it has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from control_plane.compile._tables import Tables
from control_plane.compile.errors import Denied, Unservable, Unusable
from control_plane.compile.listener import compile_listener
from control_plane.compile.model import Aside, Compiled, Hold, Unit, XdsResource
from control_plane.compile.routes import Branches, compile_routes
from control_plane.compile.settings import GatewaySettings
from control_plane.compile.units import Units, reads
from control_plane.resources import Key, Proxy, Resource, Upstream

Holds = Mapping[Key, Hold]
Routes = Mapping[str, Branches]
_HAS_UNIT = (Upstream.plural, Proxy.plural)
"""The kinds that something is made of, in this order."""


class Compiler:
    """Compiles snapshot after snapshot; what has not changed since the last one is not done again.

    The result depends on the arguments alone: a fresh compiler gives the same bytes.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._listener = compile_listener(settings)
        self._units = Units(settings)
        self._last: _Last | None = None

    def compile(
        self, revision: int, resources: Mapping[Key, Resource], holds: Holds | None = None
    ) -> Compiled:
        """All xDS resources for `resources`; `holds` says which are not to be taken as they are."""
        last, self._last = self._last, None  # if this fails, nothing is known
        holds = holds or {}
        if last is None or last.holds != holds:
            self._last = self._compile_all(resources, holds)
        else:
            self._last = self._compile_touched(last, resources, holds)
        return self._last.compiled(revision)

    def _compile_touched(
        self, last: _Last, resources: Mapping[Key, Resource], holds: Holds
    ) -> _Last:
        """Only the units that are made of what has changed, as long as all can be compiled, and
        neither they nor anything else that has changed has to do with what is set aside."""
        changed = _changed(last.resources, resources)
        if last.decisive is None or not last.decisive.isdisjoint(changed):
            return self._compile_all(resources, holds)
        touched = {key for key in changed if key.plural in _HAS_UNIT}
        touched.update(*(last.readers.get(key, ()) for key in changed))
        self._units.drop(touched)
        units = dict(last.units)
        old = [units.pop(key) for key in touched if key in units]
        ordered = sorted(touched & resources.keys(), key=lambda k: (_HAS_UNIT.index(k.plural), k))
        if any(_named_aside(key, resources, last.aside) for key in ordered):
            return self._compile_all(resources, holds)
        try:
            new = {key: self._units.unit(key, resources) for key in ordered}
        except Unservable:
            return self._compile_all(resources, holds)
        units |= new
        last.read_no_more(old)
        last.read_by(new)
        last.tables.swap(old, new.values())
        routes = last.routes
        if {u.route for u in old} != {u.route for u in new.values()}:
            routes = _routes(units)
            last.tables.put(self._route_configuration(routes, _out(units, last.aside)))
        return replace(last, resources=resources, units=units, holds=holds, routes=routes)

    def _compile_all(self, resources: Mapping[Key, Resource], holds: Holds) -> _Last:
        self._units.forget(resources, holds)
        units: dict[Key, Unit] = {}
        aside: dict[Key, Aside] = {}
        for plural in _HAS_UNIT:
            for key in resources:
                if key.plural == plural:
                    unit, why = self._take(key, resources, holds, aside)
                    if unit is not None:
                        units[key] = unit
                    if why is not None:
                        aside[key] = why
        # A secret that was rotated has one name: the newer value wins.
        ordered = sorted(units, key=lambda key: key not in aside) if aside else units
        routes = _routes(units)
        common = (self._listener, self._route_configuration(routes, _out(units, aside)))
        tables = Tables((units[key] for key in ordered), common)
        same = all(tables.has(units[key]) for key in aside if key in units)
        decisive = _decisive(resources, holds, aside) if same else None
        last = _Last(resources, units, holds, aside, decisive, routes, tables, {})
        last.read_by(units)
        return last

    def _take(
        self,
        key: Key,
        resources: Mapping[Key, Resource],
        holds: Holds,
        aside: Mapping[Key, Aside],
    ) -> tuple[Unit | None, Aside | None]:
        """The unit of a resource, or what stands in for it, and why."""
        hold = holds.get(key)
        why = _held_back(key, hold, resources, aside)
        try:
            if why is None:
                return self._units.unit(key, resources), None
        except Denied as error:
            return None, Aside(str(error), serving=False)
        except Unusable as error:
            why = Aside(str(error), serving=False)
        unit = self._units.held(key, hold, resources)
        return unit, replace(why, serving=unit is not None)

    def _route_configuration(self, routes: Routes, out: Iterable[str] = ()) -> XdsResource:
        return compile_routes(routes.values(), self._settings, out)


@dataclass(frozen=True, slots=True)
class _Last:
    """The last revision, for the next to begin with.

    Attributes:
        decisive: what decides what is set aside, and what is served instead. None if other values
            are served than a last good version gives: who gives the newer ones is not known here.
        readers: the units that are made of a resource, beside its own.
    """

    resources: Mapping[Key, Resource]
    units: Mapping[Key, Unit]
    holds: Holds
    aside: Mapping[Key, Aside]
    decisive: frozenset[Key] | None
    routes: Routes
    tables: Tables
    readers: dict[Key, set[Key]]

    def compiled(self, revision: int) -> Compiled:
        return Compiled(revision, self.tables.all, self.units, self.aside)

    def read_by(self, units: Mapping[Key, Unit]) -> None:
        for key, unit in units.items():
            for read, _ in unit.read:
                self.readers.setdefault(read, set()).add(key)

    def read_no_more(self, units: Iterable[Unit]) -> None:
        for unit in units:
            for read, _ in unit.read:
                self.readers[read].discard(unit.read[0][0])


def _changed(before: Mapping[Key, Resource], now: Mapping[Key, Resource]) -> set[Key]:
    """What came, went or is another object: the only look at everything, so it must stay cheap."""
    changed = {key for key, resource in now.items() if before.get(key) is not resource}
    added = sum(key not in before for key in changed)
    if len(before) + added > len(now):
        changed |= before.keys() - now.keys()
    return changed


def _routes(units: Mapping[Key, Unit]) -> Routes:
    return dict(unit.route for unit in units.values() if unit.route is not None)


def _out(units: Mapping[Key, Unit], aside: Mapping[Key, Aside]) -> frozenset[str]:
    """The proxies that are set aside and have no last good version."""
    return frozenset(k.name for k in aside if k.plural == Proxy.plural and k not in units)


def _decisive(
    resources: Mapping[Key, Resource], holds: Holds, aside: Mapping[Key, Aside]
) -> frozenset[Key]:
    """All that `_take` looks at for what is held or set aside."""
    found = {*holds, *aside}
    for key in found & resources.keys():
        found |= {*resources[key].references(), *reads(resources[key], resources)}
    return frozenset(found.union(*(hold.closure or () for hold in holds.values())))


def _named_aside(
    key: Key, resources: Mapping[Key, Resource], aside: Mapping[Key, Aside]
) -> list[Key]:
    """What is set aside of all that a resource is made of."""
    return sorted(k for k in reads(resources[key], resources) if k in aside) if aside else []


def _held_back(
    key: Key,
    hold: Hold | None,
    resources: Mapping[Key, Resource],
    aside: Mapping[Key, Aside],
) -> Aside | None:
    """Why a resource must not be taken: for its own sake, or that of one that it is made of."""
    if hold is not None and hold.stands:
        return Aside(hold.reason, False, hold.node, hold.certain, hold.since)
    named = _named_aside(key, resources, aside)
    if not named:
        return None
    below = aside[named[0]]
    reason = f"{named[0]}, which it uses, is set aside: {below.reason}"
    return Aside(reason, False, below.node, below.certain, below=named[0])
