"""From the bytes that children write to one readable log: splitting, tidying, redacting, prefixing.

Pure; `console.py` writes the result. etcd's own lines are JSON (zap): `message key=value` here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from itertools import cycle

MAX_LINE = 8192
"""Bytes after which a line without an end is cut."""

_COLOURS = (36, 32, 33, 35, 34, 96, 92, 95)
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-_])")
_HIDDEN = "[hidden]"
_NOT_SHOWN = {"level", "ts", "caller", "msg", "stacktrace"}

Tidy = Callable[[str], str]


class LineSplitter:
    """Bytes in, whole lines out. A line longer than `MAX_LINE` bytes comes in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > MAX_LINE:
            whole.append(self._rest[:MAX_LINE])
            self._rest = self._rest[MAX_LINE:]
        return [_text(piece) for line in whole for piece in _pieces(line)]

    def end(self) -> list[str]:
        """What was left without a newline."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


class Redactor:
    """Replaces known secrets, so that a child's slip of the tongue does not reach the log."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(sorted((s for s in secrets if len(s) >= 8), key=len, reverse=True))

    def __call__(self, line: str) -> str:
        for secret in self._secrets:
            line = line.replace(secret, _HIDDEN)
        return line


class Prefixer:
    """Puts an aligned name before each line, coloured if asked; one colour for each name."""

    def __init__(self, width: int, *, colour: bool) -> None:
        self._width = width
        self._colour = colour
        self._colours: dict[str, int] = {}
        self._next_colour = cycle(_COLOURS)

    def __call__(self, name: str, line: str) -> str:
        label = f"{name:<{self._width}} |"
        if self._colour:
            code = self._colours.get(name) or next(self._next_colour)
            self._colours[name] = code
            label = f"\x1b[{code}m{label}\x1b[0m"
        return f"{label} {line}".rstrip()


def tidy_zap(line: str) -> str:
    """etcd's JSON log line as text; any other line as it is."""
    try:
        entry = json.loads(line)
        level, message = entry["level"], entry["msg"]
    except (ValueError, KeyError, TypeError):
        return line
    details = [f"{key}={_value(entry[key])}" for key in entry if key not in _NOT_SHOWN]
    return " ".join([f"{level}:", message, *details])


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pieces(line: bytes) -> list[bytes]:
    if len(line) <= MAX_LINE:
        return [line]
    return [line[start : start + MAX_LINE] for start in range(0, len(line), MAX_LINE)]


def _text(line: bytes) -> str:
    # Control characters would let a child move the cursor or forge another child's lines.
    text = _ESCAPES.sub("", line.decode("utf-8", "replace")).rstrip("\r")
    return "".join(char if char.isprintable() or char == "\t" else " " for char in text)
