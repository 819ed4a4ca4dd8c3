"""What the roles may do, as tables. Nothing here knows HTTP or where resources are stored.

A role says what may be done to which kinds; the token's teams say whose resources they are.
Reading goes one step further: what another team shares (`metadata.sharedWith`) can be read, as it
must be by those who may name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final, Literal

from control_plane.access.model import EVERY_TEAM, ROLES, Caller, Role
from control_plane.resources import KINDS, Resource

Verb = Literal["read", "write", "delete"]
Area = Literal["tokens", "audit", "keys"]
"""Parts of the API that are not resources."""

_ALL: Final = frozenset(KINDS)
_TEMPLATES: Final = frozenset({"templates"})
_AROUND_TEMPLATES: Final = frozenset({"templates", "proxies", "upstreams"})
"""What a prompt's author has to look at; of credentials he needs nothing."""

_GRANTS: Final[Mapping[Role, Mapping[Verb, frozenset[str]]]] = {
    "admin": {"read": _ALL, "write": _ALL, "delete": _ALL},
    "operator": {"read": _ALL, "write": _ALL, "delete": _ALL},
    "developer": {"read": _ALL, "write": _ALL, "delete": _ALL},
    "prompt-editor": {"read": _AROUND_TEMPLATES, "write": _TEMPLATES, "delete": _TEMPLATES},
    "viewer": {"read": _ALL},
}
_AREAS: Final[Mapping[Area, frozenset[Role]]] = {
    "tokens": frozenset({"admin"}),
    "audit": frozenset({"admin"}),
    "keys": frozenset({"admin"}),
}
FOR_EVERY_TEAM: Final[frozenset[Role]] = frozenset({"admin", "operator"})
"""Roles that are for all teams; a token with one of them cannot be for some."""


def grants(caller: Caller, verb: Verb, plural: str) -> bool:
    """Whether one of the caller's roles allows this for the kind, in whatever team."""
    return plural in _granted(caller.roles, verb)


def may(caller: Caller, verb: Verb, resource: Resource) -> bool:
    """Whether the caller may do this to the resource as it is."""
    if resource.plural not in _granted(caller.roles, verb):
        return False
    metadata = resource.metadata
    if caller.is_of(metadata.team):
        return True
    shared = metadata.sharedWith
    return shared is not None and verb == "read" and caller.is_of_one_of(shared)


def enters(caller: Caller, area: Area) -> bool:
    return not caller.roles.isdisjoint(_AREAS[area])


def sees_everything(caller: Caller) -> bool:
    """Whether no resource of any team is hidden from the caller."""
    return EVERY_TEAM in caller.teams and all(grants(caller, "read", kind) for kind in KINDS)


@cache
def _granted(roles: frozenset[Role], verb: Verb) -> frozenset[str]:
    """The kinds that the roles together allow this for; there are few sets of roles."""
    none: frozenset[str] = frozenset()
    return none.union(*(_GRANTS[role].get(verb, none) for role in roles))


def roles_with(verb: Verb, plural: str) -> tuple[Role, ...]:
    """The roles that allow this, for an error's next step."""
    return tuple(role for role in ROLES if plural in _GRANTS[role].get(verb, ()))


def roles_in(area: Area) -> tuple[Role, ...]:
    return tuple(role for role in ROLES if role in _AREAS[area])
