"""Credentials → SDS secrets, one for each server that a credential is sent to.

A secret's name holds the server, so a credential that moves to another server is a new secret: the
plans that still send to the old server keep the old one, and never get the new value. A rotation
alone keeps the name, and travels as one small push.
"""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import GenericSecret, Secret

from control_plane.compile.model import SECRET, XdsResource, digest
from control_plane.resources import Credential
from control_plane.resources.upstream import Address


def secret_name(credential: str, address: Address) -> str:
    """`menu-key#1a2b3c4d5e`: the credential, and a hash of where it may be sent under this name."""
    server = f"{'https' if address.tls else 'http'}://{address.authority}"
    return f"{credential}#{digest(server.encode(), size=5)}"


def compile_secret(credential: Credential, name: str) -> XdsResource:
    """The generic secret that holds the credential's value."""
    assert credential.spec.secret is not None, "the store keeps no credential without its secret"
    value = credential.spec.secret.get_secret_value().encode()
    secret = GenericSecret(secret=DataSource(inline_bytes=value))
    return XdsResource.of(SECRET, name, Secret(name=name, generic_secret=secret))
