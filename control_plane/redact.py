"""A node's words, without any secret that they might quote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from control_plane.resources import Credential, Key, Resource

SHORTEST: Final = 6
"""Characters; a shorter secret would blot out ordinary words."""


class Redactor:
    """Does so for many texts: the secrets of a snapshot are collected once, at the first text."""

    def __init__(self) -> None:
        self._resources: Mapping[Key, Resource] | None = None
        self._secrets: tuple[str, ...] = ()

    def redacted(self, text: str, resources: Mapping[Key, Resource]) -> str:
        """`text` without the secrets of these resources: those of one snapshot, never changed."""
        if text and resources is not self._resources:
            self._resources, self._secrets = resources, _secrets(resources.values())
        return _without(text, self._secrets) if text else text


def redacted(text: str, resources: Iterable[Resource]) -> str:
    """`text` without the secrets of these resources."""
    return _without(text, _secrets(resources)) if text else text


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "[redacted]")
    return text


def _secrets(resources: Iterable[Resource]) -> tuple[str, ...]:
    held = (r.spec.secret for r in resources if isinstance(r, Credential))
    found = (secret.get_secret_value() for secret in held if secret is not None)
    # The longest first: one that begins another would leave the rest of that.
    return tuple(sorted((s for s in found if len(s) >= SHORTEST), key=len, reverse=True))
