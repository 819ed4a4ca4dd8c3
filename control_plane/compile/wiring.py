"""The wiring of a proxy: what Envoy and ext_proc must agree on, under a name made of its content.

Two proxies of the same name but different wiring are different routes and different plans, so a
change of wiring never touches what is live: see `control_plane.xds.switch` for the order in which
the new one takes over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import cached_property
from typing import NamedTuple

from control_plane.compile.lanes import choose_lane
from control_plane.compile.model import digest
from control_plane.compile.secrets import secret_name
from control_plane.resources import Credential, Key, Proxy, Resource, Upstream
from ext_proc.plan import CredentialPlan, Lane


@dataclass(frozen=True)
class Wiring:
    """What a route and its plan share.

    Attributes:
        lane: how much of a request Envoy does alone.
        cluster: name of the Envoy cluster.
        authority: value of the Host header towards the upstream.
        base_path: what `/v1` of the caller's path becomes.
        timeout: for the whole answer.
        credential: where the secret goes, if there is one.
        has_template: whether the messages must have been made by ext_proc.
    """

    proxy: str
    lane: Lane
    cluster: str
    authority: str
    base_path: str
    timeout: timedelta
    credential: CredentialPlan | None
    has_template: bool

    @cached_property
    def name(self) -> str:
        """Name of the route and of the plan: the proxy's, and a hash of everything here."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        content = json.dumps(plain, default=_plain, sort_keys=True)
        return f"{self.proxy}#{digest(content.encode(), size=5)}"


def _plain(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    assert isinstance(value, CredentialPlan)
    return [value.secret, value.header]


class Target(NamedTuple):
    """Where a proxy's requests go, by which lane, and with which credential."""

    lane: Lane
    upstream: Upstream
    credential: CredentialPlan | None

    @property
    def is_injected_by_cluster(self) -> bool:
        """Whether no worker is there to put the credential in."""
        return self.lane == "native" and self.credential is not None


def target_of(proxy: Proxy, resources: Mapping[Key, Resource]) -> Target:
    """The target of a proxy whose references are known to exist."""
    choice = proxy.spec.upstreams[0]
    upstream = resources[Key("upstreams", choice.name)]
    assert isinstance(upstream, Upstream)
    credential = _placement(choice.credential or upstream.spec.credential, upstream, resources)
    return Target(choose_lane(proxy).lane, upstream, credential)


def wire(proxy: Proxy, target: Target, cluster: str) -> Wiring:
    """The wiring of a proxy whose target has this cluster."""
    spec = target.upstream.spec
    return Wiring(
        proxy=proxy.metadata.name,
        lane=target.lane,
        cluster=cluster,
        authority=spec.address.authority,
        base_path=spec.address.path,
        timeout=spec.timeouts.request,
        credential=target.credential,
        has_template=proxy.spec.template is not None,
    )


def _placement(
    name: str | None, upstream: Upstream, resources: Mapping[Key, Resource]
) -> CredentialPlan | None:
    if name is None:
        return None
    credential = resources[Key("credentials", name)]
    assert isinstance(credential, Credential)
    secret = secret_name(credential, upstream.spec.address)
    return CredentialPlan(secret=secret, header=credential.spec.header or "authorization")
