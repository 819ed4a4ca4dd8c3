"""Whether this process has the key-encryption key that etcd's secrets are sealed with."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.resources import Credential
from control_plane.store.errors import WrongKek
from control_plane.store.model import Changes, Snapshot, StoredProblem


def wrong_key(snapshot: Snapshot, problems: Mapping[str, StoredProblem]) -> str | None:
    """Why this process must serve nothing: secrets are sealed with a key that it has not, and it
    opens none. One that opens some is right; what it cannot open is that document's trouble.
    """
    sealed = [problem for problem in problems.values() if problem.code == WrongKek.code]
    if not sealed or any(key.plural == Credential.plural for key in snapshot.stored):
        return None
    return (
        f"none of the {len(sealed)} secrets in etcd opens with this process's key-encryption key: "
        "start it with the key that was in use (NARU_KEK_FILE or NARU_KEK). If that one is lost, "
        "remove the credentials from etcd, and write them again"
    )


def check(snapshot: Snapshot, problems: Mapping[str, StoredProblem], changes: Changes) -> None:
    """Raises WrongKek where a secret would be sealed with a key that nobody else may have."""
    why = wrong_key(snapshot, problems)
    if why and any(resource.write_only for resource in changes.puts.values()):
        raise WrongKek(why)
