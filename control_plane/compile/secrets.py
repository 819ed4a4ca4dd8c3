"""Credentials → SDS secrets."""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import GenericSecret, Secret

from control_plane.compile.model import SECRET, XdsResource
from control_plane.resources import Credential


def compile_credential(credential: Credential) -> XdsResource:
    """The generic secret that holds the credential's value, under the credential's name."""
    assert credential.spec.secret is not None, "the store keeps no credential without its secret"
    value = credential.spec.secret.get_secret_value().encode()
    secret = GenericSecret(secret=DataSource(inline_bytes=value))
    name = credential.metadata.name
    return XdsResource.of(SECRET, name, Secret(name=name, generic_secret=secret))
