"""One resource, with what it names → one unit: made anew only if any of them has changed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

from control_plane.compile.clusters import compile_upstream, denied
from control_plane.compile.errors import Denied, Unservable, Unusable
from control_plane.compile.model import CLUSTER, Hold, Unit, XdsResource
from control_plane.compile.plans import compile_plan
from control_plane.compile.routes import compile_branches
from control_plane.compile.secrets import compile_secret
from control_plane.compile.settings import GatewaySettings
from control_plane.compile.wiring import Wiring, target_of, wire
from control_plane.resources import (
    Credential,
    Key,
    Proxy,
    Resource,
    Upstream,
    check_resource,
)

log = logging.getLogger("naru.compile")

_Read = tuple[tuple[Key, Resource], ...]


class Units:
    """Compiles units, and keeps them for as long as what they are made of is the same."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._units: dict[Key, Unit] = {}
        self._before: dict[Key, Unit] = {}
        self._held: dict[Key, tuple[Mapping[Key, Resource], Unit]] = {}

    def forget(self, resources: Mapping[Key, Resource], holds: Mapping[Key, Hold]) -> None:
        """Drop what is not made of these very objects, and what is not held any more."""
        stale = [k for k, unit in self._units.items() if not unit.still_holds(resources)]
        self.drop(stale)
        self._held = {k: held for k, held in self._held.items() if k in resources and k in holds}

    def drop(self, keys: Iterable[Key]) -> None:
        """Drop these; what they were is a help to make them anew."""
        self._before = {k: self._units.pop(k) for k in keys if k in self._units}

    def unit(self, key: Key, resources: Mapping[Key, Resource]) -> Unit:
        """Raises Denied, Unusable."""
        unit = self._units.get(key)
        if unit is None:
            self._check(key, resources)
            unit = self._units[key] = self._compile(key, resources)
        return unit

    def held(self, key: Key, hold: Hold | None, resources: Mapping[Key, Resource]) -> Unit | None:
        """The last good version of a unit, with all that it names; None if it has none, or if that
        is not allowed any more."""
        if hold is None or hold.closure is None:
            return None
        closure = {**hold.closure, **dict(_rotated(hold.closure, resources))}
        try:
            _check_deleted(key, closure, resources)
            self._check(key, closure)
            self._check(key, {**closure, **_shared_now(key, closure, resources)})
            known = self._held.get(key)
            if known is not None and known[0] == closure:
                return known[1]
            unit = self._compile(key, closure)
        except Unservable as error:
            log.error("the last good version of %s is not served: %s", key, error)
            return None
        named = [r for r in closure.values() if isinstance(r, Upstream) and r.key != key]
        clusters = (x for upstream in named for x in compile_upstream(upstream, self._settings))
        unit = Unit(unit.read, (*clusters, *unit.resources), unit.route)
        self._held[key] = (closure, unit)
        return unit

    def _check(self, key: Key, resources: Mapping[Key, Resource]) -> None:
        """Raises Unusable if something that it needs is missing; Denied if it breaks a rule.

        An upstream alone sends nobody's credential: that is checked for the proxies that use it.
        """
        resource = resources[key]
        if isinstance(resource, Upstream):
            self._check_address(resource)
            return
        needed = {*resource.references(), *reads(resource, resources)}
        missing = sorted(k for k in needed if k not in resources)
        if missing:
            raise Unusable(
                f"{missing[0]} is missing, or cannot be read: write it again, or name another"
            )
        for k in (key, *sorted(needed)):
            found = resources[k]
            for problem in check_resource(found, resources):
                raise Denied(f"{problem.message}: {problem.mend}")
            if isinstance(found, Upstream):
                self._check_address(found)

    def _check_address(self, upstream: Upstream) -> None:
        """Raises Denied."""
        why = denied(upstream, self._settings)
        if why is not None:
            raise Denied(why)

    def _compile(self, key: Key, resources: Mapping[Key, Resource]) -> Unit:
        """Raises Unusable: one bad unit must not stop the others, whatever is wrong with it."""
        resource = resources[key]
        read = tuple((k, resources[k]) for k in (key, *sorted(reads(resource, resources))))
        try:
            if isinstance(resource, Upstream):
                return Unit(read, compile_upstream(resource, self._settings))
            assert isinstance(resource, Proxy)
            return self._compile_proxy(resource, resources, read)
        except Exception as error:
            log.error("the compiler failed with %s on %s", type(error).__name__, key, exc_info=True)
            raise Unusable(
                f"the compiler failed with {type(error).__name__}: this is a fault of the product, "
                "see the control plane's log"
            ) from error

    def _compile_proxy(self, proxy: Proxy, resources: Mapping[Key, Resource], read: _Read) -> Unit:
        target = target_of(proxy, resources)
        if target.is_injected_by_cluster:
            own = compile_upstream(target.upstream, self._settings, target.credential)
        else:
            own = ()
        wiring = wire(proxy, target, _cluster_in(own or self._clusters_of(target.upstream)))
        before = self._before.get(proxy.key)
        if before is not None and before.route is not None and before.route[0] == wiring.name:
            route = before.route  # the name is made of all that the routes are made of
        else:
            route, before = (wiring.name, compile_branches(wiring, self._settings)), None
        if before is not None and _same_content(before, read):
            plan = before.resources[0]
        else:
            plan = compile_plan(proxy, wiring, resources)
        return Unit(read, (plan, *own, *_secrets(wiring, read)), route)

    def _clusters_of(self, upstream: Upstream) -> tuple[XdsResource, ...]:
        known = self._units.get(upstream.key)
        if known is not None and known.read[0][1] is upstream:
            return known.resources
        return compile_upstream(upstream, self._settings)


def reads(resource: Resource, resources: Mapping[Key, Resource]) -> frozenset[Key]:
    """What a unit depends on beside its resource: what that names, and what those name."""
    if not isinstance(resource, Proxy):
        return frozenset()
    named = resource.references()
    return named.union(*(resources[key].references() for key in named if key in resources))


def _check_deleted(
    key: Key, closure: Mapping[Key, Resource], resources: Mapping[Key, Resource]
) -> None:
    """Raises Denied if a credential, or what another team shared, has been deleted since: then it
    is not to be used any more.

    One that is still named is only unreadable just now; of those nobody deletes any.
    """
    team = resources[key].metadata.team
    named = {*resources[key].references(), *reads(resources[key], resources)}
    for k in sorted(closure.keys() - resources.keys() - named):
        if k.plural == Credential.plural or closure[k].metadata.team != team:
            raise Denied(f"it uses {k}, which has been deleted")


def _shared_now(
    key: Key, closure: Mapping[Key, Resource], resources: Mapping[Key, Resource]
) -> dict[Key, Resource]:
    """What a last good version names, under the rules of today: credentials as they are now, and
    the rest with those whom its owner shares it with now."""
    found: dict[Key, Resource] = {
        k: then.model_copy(update={"metadata": resources[k].metadata})
        for k, then in closure.items()
        if k != key and k in resources
    }
    return {**found, **_credentials(closure, resources)}


def _rotated(
    closure: Mapping[Key, Resource], resources: Mapping[Key, Resource]
) -> Iterator[tuple[Key, Resource]]:
    """The credentials of a last good version that have only got another secret since."""
    for key, now in _credentials(closure, resources).items():
        then = closure[key]
        assert isinstance(then, Credential)
        if (then.spec.type, then.spec.header) == (now.spec.type, now.spec.header):
            yield key, now


def _credentials(
    closure: Mapping[Key, Resource], resources: Mapping[Key, Resource]
) -> dict[Key, Credential]:
    """The credentials of a last good version as they are now."""
    found = ((key, resources.get(key)) for key in closure if key.plural == Credential.plural)
    return {key: now for key, now in found if isinstance(now, Credential)}


def _same_content(before: Unit, read: _Read) -> bool:
    """Whether all is the same that a plan is made of: everything but what a credential holds."""
    then = dict(before.read)
    return all(then.get(k) is r for k, r in read if not isinstance(r, Credential))


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
