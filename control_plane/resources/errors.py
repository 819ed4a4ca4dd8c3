"""What can be wrong with a resource.

    ResourceError
    ├── InvalidResource    the document itself: a field, a name, a template       (422)
    └── BrokenReferences   the document against all others: dangling, in use      (409, 422)

Every error carries the problems found, all of them, each with the field and the mend.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        field: where, as a path from the document's root, e.g. `spec.timeouts.connect`.
        message: what is wrong, never with a secret's value in it.
        mend: what to do about it, as an instruction.
    """

    field: str
    message: str
    mend: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}. {self.mend}"


class ResourceError(Exception):
    """A resource cannot be accepted; `problems` says why."""

    code = "invalid_resource"
    status = 422

    def __init__(self, problems: tuple[Problem, ...], subject: str = "") -> None:
        self.problems = problems
        self.subject = subject
        super().__init__("; ".join(str(problem) for problem in problems))


class InvalidResource(ResourceError):
    """The document does not fit its kind."""


class BrokenReferences(ResourceError):
    """The document is right in itself, but names what is not there, or not allowed."""

    code = "broken_reference"


class InUse(ResourceError):
    """The resource cannot be deleted: others name it."""

    code = "in_use"
    status = 409
