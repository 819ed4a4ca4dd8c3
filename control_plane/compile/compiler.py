"""A snapshot of resources → everything that Envoy and ext_proc are told. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from control_plane.compile.clusters import compile_upstream
from control_plane.compile.listener import compile_listener
from control_plane.compile.model import TYPES, Compiled, XdsResource
from control_plane.compile.plans import compile_plan
from control_plane.compile.routes import compile_routes
from control_plane.compile.secrets import compile_credential
from control_plane.compile.settings import GatewaySettings
from control_plane.compile.wiring import Wiring, wire
from control_plane.resources import Credential, Key, Proxy, Resource, Upstream


@dataclass(frozen=True, slots=True)
class _Part:
    """What one resource compiles to, and the resources that were read for it."""

    inputs: tuple[Resource | None, ...]
    resources: tuple[XdsResource, ...]
    wiring: Wiring | None = None


class Compiler:
    """Compiles snapshot after snapshot; what has not changed since the last one is not done again.

    The result depends on the snapshot alone: a fresh compiler gives the same bytes.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._listener = compile_listener(settings)
        self._parts: dict[Key, _Part] = {}
        self._routes: tuple[tuple[str, ...], XdsResource] | None = None

    def compile(self, revision: int, resources: Mapping[Key, Resource]) -> Compiled:
        """All xDS resources for `resources`, whose references must all exist."""
        parts = {key: self._part(key, resource, resources) for key, resource in resources.items()}
        self._parts = parts
        wirings = [part.wiring for part in parts.values() if part.wiring is not None]
        compiled: dict[str, dict[str, XdsResource]] = {type_url: {} for type_url in TYPES}
        for xds in self._all(parts.values(), wirings):
            compiled[xds.type_url][xds.name] = xds
        return Compiled(revision, compiled)

    def _all(self, parts: Iterable[_Part], wirings: list[Wiring]) -> Iterable[XdsResource]:
        for part in parts:
            yield from part.resources
        yield self._listener
        yield self._route_configuration(wirings)

    def _part(self, key: Key, resource: Resource, resources: Mapping[Key, Resource]) -> _Part:
        inputs = (resource, *(resources.get(k) for k in sorted(_read_for(resource, resources))))
        known = self._parts.get(key)
        if known is not None and _same(known.inputs, inputs):
            return known
        return _compile_part(resource, resources, inputs)

    def _route_configuration(self, wirings: list[Wiring]) -> XdsResource:
        names = tuple(sorted(wiring.name for wiring in wirings))
        if self._routes is None or self._routes[0] != names:
            self._routes = (names, compile_routes(wirings, self._settings))
        return self._routes[1]


def _read_for(resource: Resource, resources: Mapping[Key, Resource]) -> frozenset[Key]:
    """What compiling a resource reads beside it: what it names, and what those name."""
    if not isinstance(resource, Proxy):
        return frozenset()
    named = resource.references()
    return named.union(*(resources[key].references() for key in named))


def _same(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    return len(before) == len(after) and all(a is b for a, b in zip(before, after, strict=True))


def _compile_part(
    resource: Resource, resources: Mapping[Key, Resource], inputs: tuple[Resource | None, ...]
) -> _Part:
    match resource:
        case Upstream():
            return _Part(inputs, compile_upstream(resource))
        case Credential():
            return _Part(inputs, (compile_credential(resource),))
        case Proxy():
            wiring = wire(resource, resources)
            return _Part(inputs, (compile_plan(resource, wiring, resources),), wiring)
        case _:
            return _Part(inputs, ())
