"""A snapshot of resources → everything that Envoy and ext_proc are told. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control_plane.compile.clusters import compile_upstream
from control_plane.compile.listener import compile_listener
from control_plane.compile.model import CLUSTER, TYPES, Compiled, XdsResource
from control_plane.compile.plans import compile_plan
from control_plane.compile.routes import compile_routes
from control_plane.compile.secrets import compile_credential
from control_plane.compile.settings import GatewaySettings
from control_plane.compile.wiring import Wiring, wire
from control_plane.resources import Credential, Key, Proxy, Resource, Upstream


@dataclass(frozen=True, slots=True)
class _Part:
    """What one resource compiles to, and the resources that were read for it."""

    read: tuple[tuple[Key, Resource], ...]
    resources: tuple[XdsResource, ...]
    wiring: Wiring | None = None

    def still_holds(self, resources: Mapping[Key, Resource]) -> bool:
        return all(resources.get(key) is resource for key, resource in self.read)


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
        self._forget(resources)
        for key in sorted(resources, key=lambda key: key.plural == Proxy.plural):  # proxies last
            if key not in self._parts:
                self._parts[key] = self._compile_part(key, resources)
        wirings = [part.wiring for part in self._parts.values() if part.wiring is not None]
        compiled: dict[str, dict[str, XdsResource]] = {type_url: {} for type_url in TYPES}
        for xds in self._all(wirings):
            compiled[xds.type_url][xds.name] = xds
        return Compiled(revision, compiled)

    def _forget(self, resources: Mapping[Key, Resource]) -> None:
        """Keep only what was made of resources that are the same objects still."""
        self._parts = {k: part for k, part in self._parts.items() if part.still_holds(resources)}

    def _all(self, wirings: list[Wiring]) -> Iterable[XdsResource]:
        for part in self._parts.values():
            yield from part.resources
        yield self._listener
        yield self._route_configuration(wirings)

    def _compile_part(self, key: Key, resources: Mapping[Key, Resource]) -> _Part:
        resource = resources[key]
        read = tuple((k, resources[k]) for k in (key, *sorted(_reads(resource, resources))))
        match resource:
            case Upstream():
                return _Part(read, compile_upstream(resource))
            case Credential():
                return _Part(read, (compile_credential(resource),))
            case Proxy():
                wiring = wire(resource, resources, self._cluster_of)
                return _Part(read, (compile_plan(resource, wiring, resources),), wiring)
            case _:
                return _Part(read, ())

    def _cluster_of(self, upstream: Key) -> str:
        """Name of the cluster that an upstream was compiled to."""
        return next(x.name for x in self._parts[upstream].resources if x.type_url == CLUSTER)

    def _route_configuration(self, wirings: list[Wiring]) -> XdsResource:
        names = tuple(sorted(wiring.name for wiring in wirings))
        if self._routes is None or self._routes[0] != names:
            self._routes = (names, compile_routes(wirings, self._settings))
        return self._routes[1]


def _reads(resource: Resource, resources: Mapping[Key, Resource]) -> frozenset[Key]:
    """What compiling a resource reads beside it: what it names, and what those name."""
    if not isinstance(resource, Proxy):
        return frozenset()
    named = resource.references()
    return named.union(*(resources[key].references() for key in named))
