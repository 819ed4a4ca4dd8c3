"""What must hold between resources, checked on the whole set before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from control_plane.resources._base import Key, Resource
from control_plane.resources.credential import Credential
from control_plane.resources.errors import Problem
from control_plane.resources.proxy import Proxy
from control_plane.resources.upstream import Upstream


def check_graph(resources: Mapping[Key, Resource]) -> tuple[Problem, ...]:
    """All broken references, and all credentials that would go where they must not."""
    problems = [p for resource in resources.values() for p in check_resource(resource, resources)]
    return tuple(sorted(problems, key=lambda problem: problem.field))


def check_resource(resource: Resource, resources: Mapping[Key, Resource]) -> Iterator[Problem]:
    """The problems that one resource has with the others."""
    for key in sorted(resource.references()):
        if key not in resources or not _open(resource, resources[key]):
            yield _not_there(resource, key)
    if isinstance(resource, Proxy):
        yield from _credentials_stay_home(resource, resources)
    if isinstance(resource, Upstream) and resource.spec.credential:
        yield from _may_go(resource, resource, resource.spec.credential, resources)


def _not_there(resource: Resource, key: Key) -> Problem:
    """In the same words whether another team has it or nobody: that is not for all to know."""
    team = resource.metadata.team
    return Problem(
        str(resource.key),
        f"names {key}, which does not exist, or is another team's and not shared with {team!r}",
        f"Name another, create it, or let its owner add {team} to its metadata.sharedWith",
    )


def _credentials_stay_home(proxy: Proxy, resources: Mapping[Key, Resource]) -> Iterator[Problem]:
    for choice in proxy.spec.upstreams:
        upstream = resources.get(Key("upstreams", choice.name))
        if isinstance(upstream, Upstream) and choice.credential and _open(proxy, upstream):
            yield from _may_go(proxy, upstream, choice.credential, resources)


def _may_go(
    user: Resource, upstream: Upstream, credential: str, resources: Mapping[Key, Resource]
) -> Iterator[Problem]:
    found = resources.get(Key("credentials", credential))
    if not isinstance(found, Credential) or not _open(user, found):
        return
    for message, mend in _dangers(found, upstream):
        yield Problem(str(user.key), f"would send {found.key} to {message}", mend)


def _dangers(credential: Credential, upstream: Upstream) -> Iterator[tuple[str, str]]:
    """Why this secret must not go there, each with what to do."""
    address = upstream.spec.address
    if not credential.spec.names(address):
        yield (
            f"{address.authority}, which its allowedHosts do not name",
            "Add the host to the credential's allowedHosts, or use another credential",
        )
    elif not credential.spec.may_go_to(address):
        yield (
            f"{address.authority} in the clear (http), which its allowedHosts do not say",
            f'Use https, or write "{address.place}" in the credential\'s allowedHosts',
        )
    if upstream.spec.vouches and credential.metadata.team != upstream.metadata.team:
        yield (
            f"{upstream.key}, another team's with a tls.ca or tls.serverName of its own",
            f"Remove these from {upstream.key}, or use a credential of its team",
        )


def _open(user: Resource, named: Resource) -> bool:
    """Whether `user` may name it; what it may not name, an error must not tell of."""
    return named.metadata.may_be_named_by(user.metadata.team)
