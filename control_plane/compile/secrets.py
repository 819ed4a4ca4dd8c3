"""Credentials → SDS secrets, one for each server that a credential is sent to.

A secret's name holds the server and the header, so a credential that moves to another of either is
a new secret: the plans that still use the old place keep the old value, and never get the new one.
A rotation alone keeps the name, and travels as one small push.
"""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import GenericSecret, Secret

from control_plane.compile.model import SECRET, XdsResource, digest
from control_plane.resources import Credential
from control_plane.resources.upstream import Address


def secret_name(credential: Credential, address: Address) -> str:
    """`menu-key#1a2b3c4d5e`: the credential, and a hash of where, and in which header, it goes."""
    server = f"{'https' if address.tls else 'http'}://{address.authority}"
    place = f"{server} {credential.spec.type} {credential.spec.header}"
    return f"{credential.metadata.name}#{digest(place.encode(), size=5)}"


def compile_secret(credential: Credential, name: str) -> XdsResource:
    """The generic secret that holds the whole value of the credential's header."""
    assert credential.spec.secret is not None, "the store keeps no credential without its secret"
    prefix = "Bearer " if credential.spec.type == "bearer" else ""
    value = f"{prefix}{credential.spec.secret.get_secret_value()}".encode()
    secret = GenericSecret(secret=DataSource(inline_bytes=value))
    return XdsResource.of(SECRET, name, Secret(name=name, generic_secret=secret))
