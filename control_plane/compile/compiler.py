"""A snapshot of resources → everything that Envoy and ext_proc are told. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping
from dataclasses import dataclass

from control_plane.compile.clusters import compile_upstream
from control_plane.compile.listener import compile_listener
from control_plane.compile.model import CLUSTER, TYPES, Compiled, XdsResource
from control_plane.compile.plans import compile_plan
from control_plane.compile.routes import Branches, compile_branches, compile_routes
from control_plane.compile.secrets import compile_secret
from control_plane.compile.settings import GatewaySettings
from control_plane.compile.wiring import Wiring, target_of, wire
from control_plane.resources import Credential, Key, Proxy, Resource, Upstream

_Read = tuple[tuple[Key, Resource], ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """What one resource compiles to, and the resources that were read for it."""

    read: _Read
    resources: tuple[XdsResource, ...]
    route: tuple[str, Branches] | None = None  # its name, and what it adds to the tree

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
        self._routes: tuple[KeysView[str], XdsResource] | None = None

    def compile(self, revision: int, resources: Mapping[Key, Resource]) -> Compiled:
        """All xDS resources for `resources`, whose references must all exist."""
        self._forget(resources)
        for key in sorted(resources, key=lambda key: key.plural == Proxy.plural):  # proxies last
            if key not in self._parts:
                self._parts[key] = self._compile_part(key, resources)
        routes = dict(part.route for part in self._parts.values() if part.route is not None)
        compiled: dict[str, dict[str, XdsResource]] = {type_url: {} for type_url in TYPES}
        for xds in self._all(routes):
            compiled[xds.type_url][xds.name] = xds
        return Compiled(revision, compiled)

    def _forget(self, resources: Mapping[Key, Resource]) -> None:
        """Keep only what was made of resources that are the same objects still."""
        self._parts = {k: part for k, part in self._parts.items() if part.still_holds(resources)}

    def _all(self, routes: Mapping[str, Branches]) -> Iterable[XdsResource]:
        for part in self._parts.values():
            yield from part.resources
        yield self._listener
        yield self._route_configuration(routes)

    def _compile_part(self, key: Key, resources: Mapping[Key, Resource]) -> _Part:
        resource = resources[key]
        read = tuple((k, resources[k]) for k in (key, *sorted(_reads(resource, resources))))
        match resource:
            case Upstream():
                return _Part(read, compile_upstream(resource, self._settings))
            case Proxy():
                return self._compile_proxy(resource, resources, read)
            case _:
                return _Part(read, ())

    def _compile_proxy(self, proxy: Proxy, resources: Mapping[Key, Resource], read: _Read) -> _Part:
        target = target_of(proxy, resources)
        if target.is_injected_by_cluster:
            own = compile_upstream(target.upstream, self._settings, target.credential)
        else:
            own = ()
        cluster = _cluster_in(own or self._parts[target.upstream.key].resources)
        wiring = wire(proxy, target, cluster)
        plan = compile_plan(proxy, wiring, resources)
        route = (wiring.name, compile_branches(wiring, self._settings))
        return _Part(read, (plan, *own, *_secrets(wiring, read)), route)

    def _route_configuration(self, routes: Mapping[str, Branches]) -> XdsResource:
        if self._routes is None or self._routes[0] != routes.keys():
            self._routes = (routes.keys(), compile_routes(routes.values(), self._settings))
        return self._routes[1]


def _cluster_in(resources: Iterable[XdsResource]) -> str:
    return next(x.name for x in resources if x.type_url == CLUSTER)


def _secrets(wiring: Wiring, read: Iterable[tuple[Key, Resource]]) -> Iterable[XdsResource]:
    """The secret that a proxy sends; others with the same credential and server give it, too."""
    if wiring.credential is None:
        return ()
    name = wiring.credential.secret
    key = Key(Credential.plural, name.partition("#")[0])
    return tuple(
        compile_secret(resource, name)
        for k, resource in read
        if k == key and isinstance(resource, Credential)
    )


def _reads(resource: Resource, resources: Mapping[Key, Resource]) -> frozenset[Key]:
    """What compiling a resource reads beside it: what it names, and what those name."""
    if not isinstance(resource, Proxy):
        return frozenset()
    named = resource.references()
    return named.union(*(resources[key].references() for key in named))
