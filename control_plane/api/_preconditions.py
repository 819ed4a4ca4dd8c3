"""`If-Match` and `If-None-Match`, read as what a resource's revision must be.

An ETag is the etcd revision of the resource's last change, in quotes: `"42"`.
Specification: https://www.rfc-editor.org/rfc/rfc9110#section-13.1 (but the answer is 409, which
tells the caller both revisions, and not 412).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from control_plane.api.errors import BadRequest, VersionConflict
from control_plane.resources import Key, Problem
from control_plane.store import Stored

_ETAG = re.compile(r'(W/)?"(\d{1,19})"', re.ASCII)


@dataclass(frozen=True, slots=True)
class Precondition:
    """What must hold of the resource before it is changed.

    Attributes:
        revisions: its revision must be one of these; None: any.
        exists: whether it must exist; None: either.
        field: where the caller said so, for the error.
    """

    revisions: frozenset[int] | None = None
    exists: bool | None = None
    field: str = "If-Match"

    def check(self, key: Key, stored: Stored | None) -> None:
        """Raises VersionConflict with the revision wanted and the one that is there."""
        if self.exists is False and stored is not None:
            raise self._conflict(key, stored, "does not exist")
        if self.exists is True and stored is None:
            raise self._conflict(key, stored, "exists")
        if self.revisions is not None and (stored.revision if stored else 0) not in self.revisions:
            wanted = " or ".join(str(revision) for revision in sorted(self.revisions))
            raise self._conflict(key, stored, f"is at revision {wanted or 'none'}")

    def _conflict(self, key: Key, stored: Stored | None, wanted: str) -> VersionConflict:
        found = f"is at revision {stored.revision}" if stored else "does not exist"
        message = f"{key} {found}, but the request says that it {wanted}"
        problem = Problem(
            self.field, message, "Read it again, redo the change on it, and send that"
        )
        headers = {"etag": etag(stored.revision)} if stored else {}
        return VersionConflict(message, (problem,), headers)


ANY = Precondition()


def etag(revision: int) -> str:
    return f'"{revision}"'


def of_document(revision: int | None) -> Precondition:
    """What `metadata.revision` of a document asks for: just that one; 0: that there is none."""
    if revision is None:
        return ANY
    return Precondition(revisions=frozenset({revision}), field="metadata.revision")


def of_headers(if_match: str | None, if_none_match: str | None) -> Precondition:
    """What the headers of a write ask for; raises BadRequest where they cannot be read."""
    if if_none_match is not None:
        if if_none_match.strip() != "*" or if_match is not None:
            raise BadRequest("If-None-Match can only be *, and not together with If-Match")
        return Precondition(exists=False, field="If-None-Match")
    if if_match is None:
        return ANY
    if if_match.strip() == "*":
        return Precondition(exists=True)
    return Precondition(revisions=frozenset(_revisions(if_match)))


def _revisions(header: str) -> list[int]:
    """The strong ETags in a list; weak ones never match (RFC 9110, 13.1.1)."""
    matches = [_ETAG.fullmatch(part.strip()) for part in header.split(",")]
    found = [match for match in matches if match is not None]
    if len(found) != len(matches):
        raise BadRequest('If-Match must be * or ETags as they were answered, such as "42"')
    return [int(match[2]) for match in found if match[1] is None]
