"""What the compiler hands to the xDS server: opaque, versioned resources by type and name.

A resource is serialised once, when it is compiled; its version is the hash of those bytes, so every
replica of the control plane gives the same resource the same version (xDS: `version_info`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

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
class Compiled:
    """All xDS resources of one revision: type URL → name → resource."""

    revision: int
    resources: Mapping[str, Mapping[str, XdsResource]] = field(repr=False)


def digest(data: bytes, size: int = 8) -> str:
    """A short content hash, `size` bytes in hexadecimal."""
    return hashlib.blake2b(data, digest_size=size).hexdigest()
