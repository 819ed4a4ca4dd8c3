"""Counts what rendering prints and computes, while it does: a loop cannot fill the memory."""

from __future__ import annotations

from typing import Any, Final

from ext_proc.errors import TemplateTooExpensive

MAX_OUTPUT: Final = 4 << 20
"""The longest result of a template, all messages together, in characters."""
MAX_WORK: Final = 32 << 20
"""Characters that the filters of one rendering may produce."""


class Meter:
    """Called with each value that is printed (minijinja's finalizer).

    Raises:
        TemplateTooExpensive: too much has been printed or computed since `reset`.
    """

    __slots__ = ("_output", "_work")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin a rendering."""
        self._output = MAX_OUTPUT
        self._work = MAX_WORK

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            self.print(len(value))
        elif kind is not int and kind is not bool and kind is not float and value is not None:
            if callable(value):  # a method of a dict or a list: `{{ dish.keys }}`
                raise TypeError("only values can be printed")
            self.print(len(str(value)))
        return NotImplemented  # print the value as it is

    def print(self, characters: int) -> None:
        """Count what is printed."""
        self._output -= characters
        if self._output < 0:
            raise TemplateTooExpensive

    def work(self, characters: int) -> None:
        """Count what a filter is about to produce."""
        self._work -= characters
        if characters > MAX_OUTPUT or self._work < 0:
            raise TemplateTooExpensive
