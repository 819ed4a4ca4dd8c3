"""What the compiler hands to the xDS server: opaque, versioned resources by type and name.

A resource is serialised once, when it is compiled; its version is the hash of those bytes, so every
replica of the control plane gives the same resource the same version (xDS: `version_info`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if (
    TYPE_CHECKING
):  # routes are made of what is here; resources bring 20 MB that a server of it saves
    from control_plane.compile.routes import Branches
    from control_plane.resources import Key, Resource

_PREFIX = "type.googleapis.com/"
LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINT = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
PLAN = _PREFIX + "naru.v1.Plan"
TYPES = (CLUSTER, ENDPOINT, SECRET, PLAN, LISTENER, ROUTE)
"""Every type, in the order in which a change is sent: what is named goes before what names it."""


class Message(Protocol):
    """The part of `google.protobuf.Message` that compiling needs."""

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...


@dataclass(frozen=True, slots=True)
class XdsResource:
    """One xDS resource, ready to be sent.

    `body` is the serialised message (`Any.value`); it may hold a secret, so `repr` leaves it out.
    """

    type_url: str
    name: str
    version: str
    body: bytes = field(repr=False)

    @classmethod
    def of(cls, type_url: str, name: str, message: Message) -> XdsResource:
        body = message.SerializeToString(deterministic=True)
        return cls(type_url, name, digest(body), body)


@dataclass(frozen=True, slots=True)
class Unit:
    """What one resource of the user compiles to. If a node refuses it, it can be set aside alone.

    Attributes:
        read: the resources that it was made of, itself included.
        resources: may be there a second time, in another unit, with the same content.
        route: the name of its route, and what it adds to the tree (a proxy only).
    """

    read: tuple[tuple[Key, Resource], ...] = field(repr=False)
    resources: tuple[XdsResource, ...] = field(repr=False)
    route: tuple[str, Branches] | None = field(default=None, repr=False)

    def still_holds(self, resources: Mapping[Key, Resource]) -> bool:
        """Whether it is made of these very resources."""
        return all(resources.get(key) is resource for key, resource in self.read)


@dataclass(frozen=True, slots=True)
class Hold:
    """A unit that is not to be compiled from what is stored now.

    Attributes:
        reason: what happened, for people.
        node: which node refused it, if one did.
        closure: what it is compiled from instead: the resources of its last good version. None: it
            has none, and is left out.
        stands: whether the reason concerns what is stored now. If not, the closure is only what to
            fall back to.
        certain: false while it is only one of several that may be at fault.
        since: the newest revision of what was refused.
    """

    reason: str
    node: str = ""
    closure: Mapping[Key, Resource] | None = field(default=None, repr=False)
    stands: bool = True
    certain: bool = True
    since: int = 0


@dataclass(frozen=True, slots=True)
class Aside:
    """Why a unit is not what is stored.

    Attributes:
        reason: what happened, for people.
        serving: whether its last good version is served instead.
        node: which node refused it; empty if the compiler itself could not take it.
        certain: false while it is only one of several that may be at fault.
        since: the newest revision of what was refused; 0 if nobody refused it itself.
        below: what it uses that is set aside, if that is why.
    """

    reason: str
    serving: bool
    node: str = ""
    certain: bool = True
    since: int = 0
    below: Key | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """All xDS resources of one revision: type URL → name → resource.

    Attributes:
        units: all that it is made of, but the listener and the frame of the routes.
        aside: the units that are not what is stored.
    """

    revision: int
    resources: Mapping[str, Mapping[str, XdsResource]] = field(repr=False)
    units: Mapping[Key, Unit] = field(default_factory=dict, repr=False)
    aside: Mapping[Key, Aside] = field(default_factory=dict)


def digest(data: bytes, size: int = 8) -> str:
    """A short content hash, `size` bytes in hexadecimal."""
    return hashlib.blake2b(data, digest_size=size).hexdigest()
