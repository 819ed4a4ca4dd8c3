"""A node's words, without any secret that they might quote."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from control_plane.resources import Credential, Resource

SHORTEST: Final = 6
"""Characters; a shorter secret would blot out ordinary words."""


def redacted(text: str, resources: Iterable[Resource]) -> str:
    """`text` without the secrets of these resources."""
    for resource in resources if text else ():
        if isinstance(resource, Credential) and resource.spec.secret is not None:
            secret = resource.spec.secret.get_secret_value()
            if len(secret) >= SHORTEST:
                text = text.replace(secret, "[redacted]")
    return text
