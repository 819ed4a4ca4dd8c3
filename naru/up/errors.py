"""Why `naru up` cannot start. One message, written for the person at the terminal.

UpError                 exit code 1
├── PortTaken           an address that was asked for is in use
├── AlreadyRunning      another `naru up` owns the data directory
├── MissingPart         a binary, a package or the demo's folder is not installed
├── UnusableData        the data directory cannot be used (rights, another version's data)
└── StartFailed         a child exited, or was not ready in time; carries its last lines
"""

from __future__ import annotations

from collections.abc import Sequence


class UpError(Exception):
    """`naru up` cannot start or go on; `str()` is the whole message."""


class PortTaken(UpError):
    pass


class AlreadyRunning(UpError):
    pass


class MissingPart(UpError):
    pass


class UnusableData(UpError):
    pass


class StartFailed(UpError):
    """A child did not come up."""

    def __init__(self, name: str, reason: str, last_lines: Sequence[str] = ()) -> None:
        self.name = name
        self.last_lines = tuple(last_lines)
        quoted = "".join(f"\n    {line}" for line in self.last_lines)
        said = f"\n  Its last lines:{quoted}" if quoted else "\n  It said nothing."
        super().__init__(f"{name} {reason}.{said}")
