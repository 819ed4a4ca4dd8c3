"""Taking back what was shared: refused while other teams' resources use it, like a deletion."""

from __future__ import annotations

from collections.abc import Iterator

from control_plane.resources import InUse, Key, Problem, Resource
from control_plane.store import Changes, Snapshot


def refuse_withdrawal(snapshot: Snapshot, changes: Changes) -> None:
    """Raises InUse when a changed resource is named by one that may not name it any more.

    Users that change in the same transaction are not asked: they are checked as they will be.
    """
    problems = tuple(
        problem
        for key, resource in changes.puts.items()
        if _says_otherwise(snapshot, resource)
        for problem in _left_alone(snapshot, changes, key, resource)
    )
    if problems:
        raise InUse(problems, "sharing")


def _says_otherwise(snapshot: Snapshot, resource: Resource) -> bool:
    before = snapshot.stored.get(resource.key)
    if before is None:
        return False
    was, now = before.resource.metadata, resource.metadata
    return (was.team, was.sharedWith) != (now.team, now.sharedWith)


def _left_alone(
    snapshot: Snapshot, changes: Changes, key: Key, resource: Resource
) -> Iterator[Problem]:
    for user in sorted(snapshot.users.get(key, ())):
        team = snapshot.stored[user].resource.metadata.team
        if user not in changes.puts and not resource.metadata.may_be_named_by(team):
            yield Problem(
                str(user),
                f"names {key}, which would not be shared with {team!r} any more",
                f"Let {user} name another first, or go on sharing it with {team}",
            )
