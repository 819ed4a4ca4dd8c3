"""A snapshot of resources → everything that Envoy and ext_proc are told. Pure: no I/O.

Each proxy and each upstream is a *unit*, compiled by itself: one that cannot be compiled, or that a
node has refused, is set aside, and its last good version takes its place, if it has one.
"""

from __future__ import annotations

from collections.abc import KeysView, Mapping
from dataclasses import replace

from control_plane.compile.errors import Denied, Unusable
from control_plane.compile.listener import compile_listener
from control_plane.compile.model import TYPES, Aside, Compiled, Hold, Unit, XdsResource
from control_plane.compile.routes import Branches, compile_routes
from control_plane.compile.settings import GatewaySettings
from control_plane.compile.units import Units, reads
from control_plane.resources import Key, Proxy, Resource, Upstream

Holds = Mapping[Key, Hold]
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
        self._routes: tuple[tuple[KeysView[str], frozenset[str]], XdsResource] | None = None

    def compile(
        self, revision: int, resources: Mapping[Key, Resource], holds: Holds | None = None
    ) -> Compiled:
        """All xDS resources for `resources`; `holds` says which are not to be taken as they are."""
        self._units.forget(resources, holds or {})
        units: dict[Key, Unit] = {}
        aside: dict[Key, Aside] = {}
        for plural in _HAS_UNIT:
            for key in resources:
                if key.plural == plural:
                    unit, why = self._take(key, resources, holds or {}, aside)
                    if unit is not None:
                        units[key] = unit
                    if why is not None:
                        aside[key] = why
        return Compiled(revision, self._merged(units, aside), units, aside)

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

    def _merged(
        self, units: Mapping[Key, Unit], aside: Mapping[Key, Aside]
    ) -> dict[str, dict[str, XdsResource]]:
        """What all units give. A secret that was rotated has one name: the newer value wins."""
        compiled: dict[str, dict[str, XdsResource]] = {type_url: {} for type_url in TYPES}
        for key in sorted(units, key=lambda key: key not in aside) if aside else units:
            for xds in units[key].resources:
                compiled[xds.type_url][xds.name] = xds
        routes = dict(unit.route for unit in units.values() if unit.route is not None)
        out = frozenset(
            key.name for key in aside if key.plural == Proxy.plural and key not in units
        )
        for xds in (self._listener, self._route_configuration(routes, out)):
            compiled[xds.type_url][xds.name] = xds
        return compiled

    def _route_configuration(
        self, routes: Mapping[str, Branches], out: frozenset[str]
    ) -> XdsResource:
        """`out`: the proxies that are set aside and have no last good version."""
        if self._routes is None or self._routes[0] != (routes.keys(), out):
            self._routes = (
                (routes.keys(), out),
                compile_routes(routes.values(), self._settings, out),
            )
        return self._routes[1]


def _held_back(
    key: Key,
    hold: Hold | None,
    resources: Mapping[Key, Resource],
    aside: Mapping[Key, Aside],
) -> Aside | None:
    """Why a resource must not be taken: for its own sake, or that of one that it is made of."""
    if hold is not None and hold.stands:
        return Aside(hold.reason, False, hold.node, hold.certain, hold.since)
    named = [k for k in sorted(reads(resources[key], resources)) if k in aside] if aside else []
    if not named:
        return None
    below = aside[named[0]]
    reason = f"{named[0]}, which it uses, is set aside: {below.reason}"
    return Aside(reason, False, below.node, below.certain, below=named[0])
