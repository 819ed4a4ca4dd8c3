"""The one place where `naru up` writes: every line has a name, and no line holds a secret."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from naru.up.lines import Prefixer, Redactor

OWN_NAME = "naru"
NAME_WIDTH = 13
"""Characters of the longest child's name, `control_plane`."""


class Console:
    """Writes prefixed lines to `stream`; a reader that went away is no error."""

    def __init__(self, width: int, redact: Redactor, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._prefix = Prefixer(width, colour=wants_colour(self._stream))
        self._redact = redact

    def line(self, name: str, text: str) -> None:
        self._write(self._prefix(name, self._redact(text)) + "\n")

    def say(self, text: str) -> None:
        """A line of the supervisor's own."""
        for line in text.splitlines() or [""]:
            self.line(OWN_NAME, line)

    def plain(self, text: str) -> None:
        """Text without a prefix: made to be copied, such as a command."""
        self._write(self._redact(text) + "\n")

    def redact(self, text: str) -> str:
        return self._redact(text)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal or pipe is closed. Stopping in order matters more than the log.
            pass


def wants_colour(stream: TextIO) -> bool:
    """Colour only on a terminal, and not if NO_COLOR is set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
