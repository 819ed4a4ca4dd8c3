"""Who asks, and every write judged on exactly the state that it changes.

`guarded` wraps what a request would write: it runs inside the store's transaction, again for each
try, so neither a change of another writer nor a revoked token can slip in between.

What a caller may not see is to him as if it did not exist: GET, PATCH and DELETE answer 404. Names
are the whole gateway's, though, so a PUT or an apply of a name that another team has taken says so
(403), and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from control_plane import access
from control_plane.access import Act, Area, Caller, Verb
from control_plane.api import _versions
from control_plane.api._discretion import Discretion
from control_plane.api.errors import Forbidden, NotFound, Unauthorized
from control_plane.api.state import State
from control_plane.resources import Key, Problem, Resource, ResourceError
from control_plane.store import Build, Changes, Snapshot

_DEFAULT_TEAM: Final = "default"


@dataclass(frozen=True, slots=True)
class Asking:
    """A request: whose, from where, for what."""

    caller: Caller
    request_id: str
    client: str
    action: str

    def act(self, message: str | None) -> Act:
        return Act(self.caller, self.action, self.request_id, self.client, message)

    def sees(self, resource: Resource) -> bool:
        return access.may(self.caller, "read", resource)

    def told(self, snapshot: Snapshot, own: Sequence[Key] = ()) -> Discretion:
        return Discretion(self.caller, snapshot, own)


async def _asking(request: Request) -> Asking:
    client = request.client.host if request.client else ""
    action = f"{request.method} {request.url.path[:200]}"
    return Asking(request.state.caller, request.state.request_id, client, action)


Who = Annotated[Asking, Depends(_asking)]


async def closed(request: Request) -> None:
    """A route that does not ask who calls is for admins alone: what is forgotten stays shut."""
    caller = getattr(request.state, "caller", None)  # none on the open paths
    if caller is None or "admin" in caller.roles or _asks(request.scope.get("route")):
        return
    message = f"this is not for {_roles(caller)}"
    raise Forbidden(message, [Problem("$", message, "Use a token with the role admin")])


def _asks(route: object) -> bool:
    return isinstance(route, APIRoute) and any(
        part.call is _asking for part in route.dependant.dependencies
    )


@dataclass(frozen=True, slots=True)
class Intent:
    """What a request wants to do to one resource.

    Attributes:
        team: whose it is to be afterwards; None: the request leaves that.
        names: whether the request holds the whole resource, so that a taken name must be told.
        field: where it is in the request, for problems; empty: it is all of it.
    """

    key: Key
    verb: Verb = "write"
    team: str | None = None
    names: bool = False
    field: str = ""


def of_document(resource: Resource, field: str = "") -> Intent:
    return Intent(resource.key, "write", resource.metadata.team, True, field)


def of_patch(key: Key, patch: Any) -> Intent:
    """The intent of a merge patch. What it says of the team is judged before it is merged."""
    metadata = patch.get("metadata") if isinstance(patch, Mapping) else None
    if not isinstance(metadata, Mapping) or "team" not in metadata:
        return Intent(key)
    team = metadata["team"]
    return Intent(key, "write", _DEFAULT_TEAM if team is None else str(team))


def guarded(
    state: State, who: Asking, build: Build, intents: Sequence[Intent], message: str | None = None
) -> Build:
    """`build` for this caller, with its entry in the audit trail.

    What it makes raises besides: Unauthorized (the token was revoked meanwhile), Forbidden and
    NotFound, each before `build` has looked at anything.
    """
    own = [intent.key for intent in intents]

    def judged(snapshot: Snapshot) -> Changes:
        caller = current(state, who, snapshot)
        _refuse(
            problem for intent in intents for problem in _judge(state, caller, intent, snapshot)
        )
        try:
            changes = build(snapshot)
        except ResourceError as error:
            raise who.told(snapshot, own).error(error) from None
        _refuse(_of_result(caller, changes))
        if state.keys is not None:
            changes = _versions.recorded(snapshot, changes, state.keys.sealing, caller.name)
        return access.written(snapshot, changes, who.act(message), time.time())

    return judged


def current(state: State, who: Asking, snapshot: Snapshot) -> Caller:
    """The caller as the snapshot knows him; raises Unauthorized when the token is gone."""
    caller = state.authenticator.still(who.caller, snapshot)
    if caller is None:
        raise Unauthorized.now()
    return caller


def enter(caller: Caller, area: Area) -> None:
    """Raises Forbidden unless the caller may use this part of the API."""
    if not access.enters(caller, area):
        needed = " or ".join(access.roles_in(area))
        mend = f"Use a token with the role {needed}"
        _refuse([Problem(area, f"is not for {_roles(caller)}", mend)])


def writes(who: Asking, plural: str) -> None:
    """Raises Forbidden if no role of the caller may write the kind: his body is never parsed."""
    if not access.grants(who.caller, "write", plural):
        needed = " or ".join(access.roles_with("write", plural))
        message = f"{_roles(who.caller)} may not write {plural}"
        _refuse([Problem(plural, message, f"Use a token with the role {needed}")])


def _judge(state: State, caller: Caller, intent: Intent, snapshot: Snapshot) -> Iterator[Problem]:
    key, stored = intent.key, snapshot.stored.get(intent.key)
    where = intent.field or str(key)
    if not access.grants(caller, intent.verb, key.plural):
        needed = " or ".join(access.roles_with(intent.verb, key.plural))
        message = f"{_roles(caller)} may not {intent.verb} {key.plural}"
        yield Problem(where, message, f"Use a token with the role {needed}")
        return
    if stored is None:
        yield from _unreadable(state, caller, intent, where)
    elif not access.may(caller, intent.verb, stored.resource):
        yield _foreign(caller, intent, stored.resource, where)
    if intent.team is not None and not caller.is_of(intent.team):
        field = f"{intent.field}.metadata.team" if intent.field else "metadata.team"
        yield Problem(field, "is no team of this token", f"Write one of these: {_teams(caller)}")


def _foreign(caller: Caller, intent: Intent, resource: Resource, where: str) -> Problem:
    if access.may(caller, "read", resource):
        mend = f"Ask its owner, {resource.metadata.team}"
        return Problem(where, "belongs to another team, which lets others only name it", mend)
    if not intent.names:
        raise NotFound.of(intent.key)
    return Problem(where, "the name is taken by another team", "Choose another name")


def _unreadable(state: State, caller: Caller, intent: Intent, where: str) -> Iterator[Problem]:
    """A document that this process cannot read may be anybody's: nobody else takes its name."""
    known = any(problem.key == str(intent.key) for problem in state.reflector.problems.values())
    if known and not access.sees_everything(caller):
        if not intent.names:
            raise NotFound.of(intent.key)
        yield Problem(where, "the name is taken", "Choose another name, or ask an operator")


def _of_result(caller: Caller, changes: Changes) -> Iterator[Problem]:
    """The same once more, of what really would be written: no way may lead around it."""
    for key, resource in changes.puts.items():
        if not access.may(caller, "write", resource):
            yield Problem(str(key), "would be another team's", f"Teams here: {_teams(caller)}")


def _refuse(problems: Iterator[Problem] | Sequence[Problem]) -> None:
    found = tuple(problems)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise Forbidden(f"{found[0].field}: {found[0].message}{more}", found)


def _roles(caller: Caller) -> str:
    return "the role " + " and ".join(sorted(caller.roles)) if caller.roles else "no role"


def _teams(caller: Caller) -> str:
    return ", ".join(sorted(caller.teams))
