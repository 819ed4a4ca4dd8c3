"""Lists, a page at a time: in the order of names, each page continuing after the last name."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice

from control_plane.api.errors import BadRequest
from control_plane.resources import Key, Resource
from control_plane.store import Stored


@dataclass(frozen=True, slots=True)
class Page:
    """Some resources of a kind, and the token of the next page (None: this is the last)."""

    items: tuple[Stored, ...]
    token: str | None


def page(
    stored: Mapping[Key, Stored],
    plural: str,
    *,
    limit: int,
    token: str | None,
    team: str | None,
    sees: Callable[[Resource], bool] = lambda resource: True,
) -> Page:
    """The next `limit` resources of a kind after `token`; raises BadRequest for a foreign token.

    What the caller does not see is not there, also not in the token.
    """
    after = _name_in(token, plural) if token else ""
    names = sorted(key.name for key in stored if key.plural == plural and key.name > after)
    found = (stored[Key(plural, name)] for name in names)
    fitting = (
        item
        for item in found
        if (team is None or item.resource.metadata.team == team) and sees(item.resource)
    )
    items = tuple(islice(fitting, limit + 1))
    shown, more = items[:limit], len(items) > limit
    return Page(shown, _token(plural, shown[-1].resource.metadata.name) if more else None)


def _token(plural: str, name: str) -> str:
    return base64.urlsafe_b64encode(f"{plural}/{name}".encode()).decode().rstrip("=")


def _name_in(token: str, plural: str) -> str:
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        found, slash, name = text.decode().partition("/")
    except (binascii.Error, ValueError):
        found, slash, name = "", "", ""
    if not slash or found != plural:
        raise BadRequest("continue is not a token of this list; begin again without it")
    return name
