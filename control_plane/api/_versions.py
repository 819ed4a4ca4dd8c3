"""What a write does to the versions of a credential, and putting an earlier one back. Pure.

Runs inside the store's transaction, as `_changes.py` does, so a version is recorded if and only if
its secret is written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from control_plane.api import _changes
from control_plane.api.errors import NotFound
from control_plane.resources import Credential, InvalidResource, Key, Problem, Resource, parse
from control_plane.resources._moment import show
from control_plane.store import Changes, SealerLike, Snapshot, Undecodable, Version, versions


def recorded(
    snapshot: Snapshot, changes: Changes, sealing: SealerLike, by: str, now: datetime | None = None
) -> Changes:
    """The changes, with the versions of every credential whose secret they set or delete."""
    records: dict[str, bytes | None] = {}
    moment = show(now or datetime.now(UTC))
    for key, resource in changes.puts.items():
        name = versions.record_name(key.name)
        if isinstance(resource, Credential) and name not in changes.records:
            earlier = _retired(snapshot, key, resource, sealing)
            if earlier is not None:
                number = earlier[-1].number + 1 if earlier else 1
                records[name] = _encoded([*earlier, Version(number, moment, by)])
    for key in changes.deletes:
        name = versions.record_name(key.name)
        if key.plural == Credential.plural and name in snapshot.records:
            records[name] = None
    return replace(changes, records={**changes.records, **records}) if records else changes


def put_back(
    snapshot: Snapshot, key: Key, number: int | None, sealing: SealerLike, by: str
) -> Changes:
    """The credential as it was with the secret of an earlier version; None: the one before.

    The secret comes with the hosts and the header that it was meant for, never with those that
    another secret has got since.

    Raises NotFound, InvalidResource, BrokenReferences, or what unsealing raises.
    """
    stored = snapshot.stored.get(key)
    if stored is None:
        raise NotFound.of(key)
    kept = [version for version in of(snapshot, key) if version.sealed is not None]
    found = next((v for v in reversed(kept) if number in (None, v.number)), None)
    if found is None or found.sealed is None:
        which = "no earlier version" if number is None else f"no secret of version {number}"
        raise NotFound(f"{which} of {key} is kept")
    secret = sealing.unseal(found.sealed, versions.context(key.name, found.number))
    if SecretStr(secret) == stored.resource.spec.secret:
        return Changes()
    changes = _changes.put(snapshot, _as_it_was(stored.resource, found, secret))
    made = recorded(snapshot, changes, sealing, by)
    name = versions.record_name(key.name)
    *earlier, newest = versions.decode(key.name, made.records[name] or b"")
    encoded = _encoded([*earlier, replace(newest, source=found.number)])
    return replace(made, records={**made.records, name: encoded})


def of(snapshot: Snapshot, key: Key) -> tuple[Version, ...]:
    """The versions of a credential, oldest first; the last one is the present one."""
    record = snapshot.records.get(versions.record_name(key.name))
    found: tuple[Version, ...] = ()
    if record is not None:
        with contextlib.suppress(Undecodable):  # the history is lost, the credential is not
            found = versions.decode(key.name, record.value)
    return found or (Version(1, None, None),)


def shown(version: Version, present: bool) -> dict[str, Any]:
    """A version as it is answered: never the secret, and nothing made of it."""
    return {
        "number": version.number,
        "created": version.created,
        "by": version.by,
        "source": version.source,
        "present": present,
        "kept": present or version.sealed is not None,
    }


def _as_it_was(resource: Resource, version: Version, secret: str) -> Resource:
    """Raises InvalidResource."""
    if version.spec is None:
        problem = Problem(
            "version",
            f"{version.number} was kept without the hosts that its secret may go to",
            "Set the secret again, with its type, header and allowedHosts",
        )
        raise InvalidResource((problem,), str(resource.key))
    spec = {**version.spec, "secret": secret}
    return parse({**resource.to_document(), "spec": spec})


def _retired(
    snapshot: Snapshot, key: Key, resource: Credential, sealing: SealerLike
) -> Sequence[Version] | None:
    """The versions before this one, the last one's secret sealed; None if it sets no new secret."""
    stored = snapshot.stored.get(key)
    if stored is None or not isinstance(stored.resource, Credential):
        return ()
    before = stored.resource.spec.secret
    if before is None or before == resource.spec.secret:
        return None
    *earlier, last = of(snapshot, key)
    context = versions.context(key.name, last.number)
    sealed = sealing.seal(before.get_secret_value(), context)
    return (*earlier, replace(last, sealed=sealed, spec=stored.resource.to_document()["spec"]))


def _encoded(found: Sequence[Version]) -> bytes:
    return versions.encode(found[-versions.KEPT :])
