"""When a process that does not answer counts as dead. No clock and no process of its own.

One unanswered question says little: whoever asks may have been held up itself. And who works on
something large answers late.
"""

from __future__ import annotations

from typing import Final

MISSES: Final = 2
LONGEST: Final = 6.0
"""Seconds of silence that even a busy process gets."""
_BUSY: Final = 0.5
"""Of a core: a stopped or blocked process uses none; a crowded machine does not give all of it."""


class Silence:
    """The unanswered questions since the last answer. `cpu` is the CPU time used so far, in s."""

    def __init__(self) -> None:
        self._misses = 0
        self._since = 0.0
        self._asked = 0.0
        self._cpu = 0.0

    def asked(self, now: float, cpu: float) -> None:
        """A fresh question goes out."""
        self._asked, self._cpu = now, cpu
        if not self._misses:
            self._since = now

    def answered(self) -> None:
        self._misses = 0

    def is_death(self, now: float, cpu: float) -> bool:
        """The question was not answered: whether to give up."""
        self._misses += 1
        if self._misses < MISSES:
            return False
        busy = cpu - self._cpu >= _BUSY * (now - self._asked)
        return not busy or now - self._since >= LONGEST
