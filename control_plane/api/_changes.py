"""What a request changes: pure functions (snapshot, request) → `Changes`, or the error.

They run inside the store's transaction, so they judge exactly the state that they change, and run
again when somebody else was faster. No I/O, no HTTP.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, cast

from control_plane.api import _documents, _preconditions, _sharing
from control_plane.api._merge_patch import merged
from control_plane.api._preconditions import ANY, Precondition
from control_plane.api.errors import NotFound, VersionConflict
from control_plane.resources import (
    BrokenReferences,
    Credential,
    InUse,
    InvalidResource,
    Key,
    Metadata,
    Problem,
    Resource,
    check_resource,
)
from control_plane.resources.addresses import AddressPolicy
from control_plane.store import Changes, Snapshot, Stored

_PRESENT: Final = Resource.model_construct(metadata=Metadata(name="any", sharedWith=("*",)))  # type: ignore[call-arg]
"""Stands for a resource of which only the existence counts."""

_ANYWHERE: Final = AddressPolicy()

Change = Literal["created", "updated", "unchanged", "deleted"]


class Result(NamedTuple):
    """What became of one resource."""

    kind: str
    name: str
    change: Change


def put(snapshot: Snapshot, resource: Resource, precondition: Precondition = ANY) -> Changes:
    """Create or replace one resource."""
    stored = snapshot.stored.get(resource.key)
    precondition.check(resource.key, stored)
    _preconditions.of_document(resource.metadata.revision).check(resource.key, stored)
    settled = _settled(resource, stored)
    if stored is not None and settled == stored.resource:
        return Changes()
    changes = Changes(puts={resource.key: settled})
    _sharing.refuse_withdrawal(snapshot, changes)
    _refuse(tuple(_graph_problems(snapshot, changes)))
    return changes


def patch(
    snapshot: Snapshot,
    key: Key,
    document: Any,
    precondition: Precondition = ANY,
    addresses: AddressPolicy = _ANYWHERE,
) -> Changes:
    """Merge a JSON merge patch into one resource; it neither sees secrets nor removes them."""
    stored = snapshot.stored.get(key)
    precondition.check(key, stored)
    if stored is None:
        raise NotFound.of(key)
    resource = _documents.accepted(merged(stored.resource.to_document(), document), addresses)
    must_be(key, resource)
    return put(snapshot, resource)


def delete(snapshot: Snapshot, key: Key, precondition: Precondition = ANY) -> Changes:
    """Delete one resource that nothing names."""
    stored = snapshot.stored.get(key)
    precondition.check(key, stored)
    if stored is None:
        raise NotFound.of(key)
    users = sorted(snapshot.users.get(key, ()))
    if users:
        raise InUse(tuple(_in_use(key, user) for user in users), str(key))
    return Changes(deletes=frozenset({key}))


def apply(
    snapshot: Snapshot, resources: Mapping[int, Resource], broken: Iterable[Key] = ()
) -> Changes:
    """Create or replace many resources at once, in any order.

    Args:
        resources: by the index of their documents; no key is there twice.
        broken: keys of documents that could not be read: naming them is no mistake of the others.
    """
    settled, invalid = _settle_all(snapshot, resources)
    changes = Changes(puts=settled)
    index = {resource.key: i for i, resource in resources.items()}
    found = tuple(_located(p, index) for p in _graph_problems(snapshot, changes, broken))
    if invalid:
        raise InvalidResource((*invalid, *found))
    _sharing.refuse_withdrawal(snapshot, changes)
    _refuse(found)
    _check_revisions(snapshot, resources)
    return changes


def must_be(key: Key, resource: Resource) -> None:
    """Raises InvalidResource unless the resource is the one that the path names."""
    problems = []
    if resource.plural != key.plural:
        problems.append(
            Problem(
                "kind", f"is {resource.kind}, but the path names {key.plural}", "Correct either"
            )
        )
    if resource.metadata.name != key.name:
        problems.append(
            Problem("metadata.name", "is not the name in the path", "Use the same name in both")
        )
    if problems:
        raise InvalidResource(tuple(problems), str(key))


def results(snapshot: Snapshot, changes: Changes, keys: Sequence[tuple[Key, str]]) -> list[Result]:
    """What the changes did to each (key, kind), in the order given."""
    return [Result(kind, key.name, _change_of(snapshot, changes, key)) for key, kind in keys]


def at(prefix: str, problem: Problem) -> Problem:
    """The problem, with its field found from `prefix`."""
    field = prefix if problem.field in ("$", "") else f"{prefix}.{problem.field}"
    return Problem(field, problem.message, problem.mend)


def _in_use(key: Key, user: Key) -> Problem:
    return Problem(str(user), f"names {key}", f"Delete {user} first, or let it name another")


def _needs_secret(field: str) -> Problem:
    return Problem(f"spec.{field}", "is needed for a new resource", "Add the field")


def _check_kept(resource: Resource, stored: Resource) -> None:
    """Who may edit a credential need not know its secret, and must not learn it that way."""
    if not isinstance(resource, Credential) or not isinstance(stored, Credential):
        return
    if not resource.spec.goes_no_further_than(stored.spec):
        problem = Problem(
            "spec.secret",
            "is needed: a stored secret goes to no new host (allowedHosts), in no other header",
            "Give the secret again, or leave type, header and allowedHosts as they are",
        )
        raise InvalidResource((problem,), str(resource.key))


def _change_of(snapshot: Snapshot, changes: Changes, key: Key) -> Change:
    if key in changes.deletes:
        return "deleted"
    if key not in changes.puts:
        return "unchanged"
    return "updated" if key in snapshot.stored else "created"


def _settled(resource: Resource, stored: Stored | None) -> Resource:
    """The resource as it is stored: without a revision, with the secrets that it left out."""
    metadata = resource.metadata.model_copy(update={"revision": None})
    missing = [f for f in sorted(resource.write_only) if getattr(resource.spec, f) is None]
    if missing and stored is None:
        raise InvalidResource(tuple(map(_needs_secret, missing)), str(resource.key))
    if missing and stored is not None:
        _check_kept(resource, stored.resource)
    kept = {f: getattr(stored.resource.spec, f) for f in missing} if stored else {}
    spec = resource.spec.model_copy(update=kept)
    return resource.model_copy(update={"metadata": metadata, "spec": spec})


def _settle_all(
    snapshot: Snapshot, resources: Mapping[int, Resource]
) -> tuple[dict[Key, Resource], list[Problem]]:
    """The resources that change anything, and what keeps others from being stored."""
    changed: dict[Key, Resource] = {}
    problems: list[Problem] = []
    for i, resource in resources.items():
        stored = snapshot.stored.get(resource.key)
        try:
            settled = _settled(resource, stored)
        except InvalidResource as error:
            problems.extend(at(f"documents[{i}]", problem) for problem in error.problems)
            settled = resource
        if stored is None or settled != stored.resource:
            changed[resource.key] = settled
    return changed, problems


def _graph_problems(
    snapshot: Snapshot, changes: Changes, assumed: Iterable[Key] = ()
) -> Iterator[Problem]:
    """What the changes would break: in the changed resources, and in those that name them."""
    there = dict.fromkeys(assumed, _PRESENT)
    after: Mapping[Key, Resource] = ChainMap(dict(changes.puts), _plain(snapshot), there)
    affected = changes.puts.keys() | _users(snapshot, changes.puts)
    for key in sorted(affected):
        yield from check_resource(after[key], after)


def _plain(snapshot: Snapshot) -> dict[Key, Resource]:
    """The resources, as a `ChainMap` wants them, which only writes to its first map."""
    return cast(dict[Key, Resource], snapshot.resources)


def _users(snapshot: Snapshot, keys: Iterable[Key]) -> set[Key]:
    return {user for key in keys for user in snapshot.users.get(key, ())}


def _check_revisions(snapshot: Snapshot, resources: Mapping[int, Resource]) -> None:
    conflicts: list[Problem] = []
    for i, resource in resources.items():
        try:
            wanted = _preconditions.of_document(resource.metadata.revision)
            wanted.check(resource.key, snapshot.stored.get(resource.key))
        except VersionConflict as error:
            conflicts.extend(at(f"documents[{i}]", problem) for problem in error.problems)
    if conflicts:
        raise VersionConflict(f"{len(conflicts)} of the resources have changed", conflicts)


def _refuse(problems: tuple[Problem, ...]) -> None:
    if problems:
        raise BrokenReferences(problems)


def _located(problem: Problem, index: Mapping[Key, int]) -> Problem:
    """A problem between resources, with the document that it is in (if it is in one)."""
    key = Key(*problem.field.split("/", 1)) if "/" in problem.field else None
    if key is None or key not in index:
        return problem
    return Problem(f"documents[{index[key]}]", f"{key} {problem.message}", problem.mend)
