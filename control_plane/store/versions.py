"""The versions of a credential: what its secret was before, sealed, so that it can be put back.

One record for each credential, `versions/{name}`; the newest version is the one in the resource
itself, and only of the earlier ones the secret is kept here. Pure; sealing is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from control_plane.store.codec import Rewrap
from control_plane.store.errors import Undecodable

FAMILY: Final = "versions"
KEPT: Final = 5
"""Versions of a credential, the present one among them."""


@dataclass(frozen=True, slots=True)
class Version:
    """One secret that a credential had.

    Attributes:
        number: from 1 on.
        created: when it was set, RFC 3339; None if nobody knows.
        by: who set it.
        source: the version that it was put back from.
        sealed: the envelope; None for the present version.
        spec: the credential's, without its secret, as long as it had this one: where that was
            meant to go. None where it was not recorded.
    """

    number: int
    created: str | None
    by: str | None
    source: int | None = None
    sealed: Mapping[str, Any] | None = field(default=None, repr=False)
    spec: Mapping[str, Any] | None = field(default=None, repr=False)


def record_name(name: str) -> str:
    return f"{FAMILY}/{name}"


def context(name: str, number: int) -> str:
    """What a version is sealed with, see `sealing.py`."""
    return f"credentials/{name}#secret@{number}"


def encode(versions: Iterable[Version]) -> bytes:
    return orjson.dumps([_document(version) for version in versions])


def decode(name: str, value: bytes) -> tuple[Version, ...]:
    """The versions, oldest first. Raises `Undecodable`."""
    try:
        return tuple(
            Version(
                int(each["number"]),
                each.get("created"),
                each.get("by"),
                each.get("source"),
                each["secret"]["sealed"] if "secret" in each else None,
                dict(each["spec"]) if "spec" in each else None,
            )
            for each in orjson.loads(value)
        )
    except (ValueError, TypeError, LookupError, AttributeError):
        raise Undecodable(
            f"the versions of credentials/{name} cannot be read: set its secret again"
        ) from None


def resealed(name: str, value: bytes, rewrap: Rewrap) -> bytes:
    """The record with its secrets sealed by `rewrap`."""
    versions = decode(name, value)
    return encode(
        version if version.sealed is None else _with(version, name, rewrap) for version in versions
    )


def _with(version: Version, name: str, rewrap: Rewrap) -> Version:
    assert version.sealed is not None
    return replace(version, sealed=rewrap(version.sealed, context(name, version.number)))


def _document(version: Version) -> dict[str, Any]:
    found: dict[str, Any] = {"number": version.number, "created": version.created}
    found["by"] = version.by
    if version.source is not None:
        found["source"] = version.source
    if version.sealed is not None:
        found["secret"] = {"sealed": dict(version.sealed)}
    if version.spec is not None:
        found["spec"] = dict(version.spec)
    return found
