r"""Restoring in JSON as it streams by: every string is scanned, keys and all else are left alone.

A lexer, not a validator: what is no JSON passes, and only what looks like a string in it is
touched. Nothing is buffered; the state is the path to the place that has been reached.

`arguments` (of a function call) is a string that holds JSON. What is put in there is escaped twice,
and only in strings of the JSON inside.  https://www.rfc-editor.org/rfc/rfc8259
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import orjson

from ext_proc.restore._text import Edit, Scanner, Text, apply, shifted, unit
from ext_proc.restore._tokens import Tokens, escape

Path = list[str | int]
"""Keys and indexes; numbers, true, false and null are not counted as items of a list."""
Choose = Callable[[Path], Scanner]
"""Who scans the string at this path."""

_MAX_DEPTH: Final = 1024  # what orjson reads
_KEY_SIZE: Final = 64  # longer than any key that is asked for
_TOKEN: Final = re.compile(rb'"((?:[^"\\]++|\\.)*+)("?)|[{}\[\]]', re.DOTALL)
_BODY: Final = re.compile(rb'((?:[^"\\]++|\\.)*+)("?)', re.DOTALL)
_COLON: Final = 0x3A
_SPACE: Final = b" \t\r\n"


class _Key:
    """Reads a key instead of editing it."""

    __slots__ = ("_raw",)

    def __init__(self) -> None:
        self._raw = b""

    def scan(self, raw: bytes, final: bool) -> tuple[list[Edit], int]:
        self._raw += raw[: _KEY_SIZE - len(self._raw)]
        return [], len(raw)

    def name(self) -> str:
        try:
            if b"\\" not in self._raw:
                return self._raw.decode("utf-8", "replace")
            return str(orjson.loads(b'"%b"' % self._raw))
        except orjson.JSONDecodeError:
            return ""


class Document:
    """Scans JSON from its first byte to its last.

    A whole string of which `is_worth` says no need not be scanned.
    Beyond 1024 levels, where parsers give up, nothing is restored any more.
    """

    __slots__ = ("_before", "_choose", "_is_worth", "_path", "_string", "_too_deep")

    def __init__(self, choose: Choose, is_worth: Callable[[bytes], object] = bool) -> None:
        self._choose = choose
        self._is_worth = is_worth
        self._path: Path = []
        self._string: Scanner | None = None
        self._before = 0
        self._too_deep = False

    @property
    def is_idle(self) -> bool:
        """Whether it is where it began: between two documents."""
        return not self._path and self._string is None

    def scan(self, raw: bytes, final: bool) -> tuple[list[Edit], int]:
        edits: list[Edit] = []
        at = 0
        if self._string is not None and (body := _BODY.match(raw)):
            at = self._inside(body, final, edits)
            if self._string is not None:
                return edits, len(raw) if final else at
            self._before = 0
        for token in _TOKEN.finditer(raw, at):
            inside, quote = token.groups()
            if inside is None:
                self._structure(token[0])
            else:
                before = self._before_string(raw, at, token.start())
                if not (quote and self._pass(inside, before)):
                    self._string = self._begin(before)
                    keep = self._inside(token, final, edits)
                    if self._string is not None:
                        return edits, len(raw) if final else keep
                self._before = 0
            at = token.end()
        self._before = self._before_string(raw, at, len(raw))
        return edits, len(raw)

    def _inside(self, body: re.Match[bytes], final: bool, edits: list[Edit]) -> int:
        """A string, or as much of it as there is; returns from where on it is held back."""
        assert self._string is not None
        closed = bool(body[2])
        found, keep = self._string.scan(body[1], final or closed)
        start = body.start(1)
        edits += shifted(found, start)
        if not closed:
            return start + keep
        if isinstance(self._string, _Key):
            self._path[-1] = self._string.name()
        self._string = None
        return body.end()

    def _pass(self, inside: bytes, before: int) -> bool:
        """Do with a whole string what can be done at once; False if it must be scanned."""
        path = self._path
        if not path:
            return False
        if type(last := path[-1]) is str:
            if before != _COLON:
                if b"\\" in inside:
                    return False
                path[-1] = inside[:_KEY_SIZE].decode("utf-8", "replace")
                return True
            return not self._is_worth(inside)
        if self._is_worth(inside):
            return False
        path[-1] = int(last) + 1
        return True

    def _begin(self, before: int) -> Scanner:
        """Who scans the string that begins here, after the byte `before`."""
        path = self._path
        if path:
            if isinstance(last := path[-1], int):
                path[-1] = last + 1
            elif before != _COLON:  # otherwise it is a value
                return _Key()
        return _NOTHING if self._too_deep else self._choose(path)

    def _structure(self, mark: bytes) -> None:
        path = self._path
        self._before = 0
        if mark in b"}]":
            if path:
                path.pop()
            return
        if path and isinstance(last := path[-1], int):
            path[-1] = last + 1
        if len(path) == _MAX_DEPTH:
            self._too_deep = True
            return
        path.append("" if mark == b"{" else -1)

    def _before_string(self, raw: bytes, since: int, at: int) -> int:
        """The last byte before `at` that is no space, looking back as far as `since`."""
        while at > since:
            at -= 1
            if raw[at] not in _SPACE:
                return raw[at]
        return self._before


class _Nothing:
    """Leaves a string as it is."""

    __slots__ = ()

    def scan(self, raw: bytes, final: bool) -> tuple[list[Edit], int]:
        return [], len(raw)


_NOTHING: Final = _Nothing()


class Nested:
    """Scans the inside of a string that holds JSON."""

    __slots__ = ("_document",)

    def __init__(self, text: Text) -> None:
        self._document = Document(lambda _path: text)

    @property
    def is_idle(self) -> bool:
        return self._document.is_idle

    def scan(self, raw: bytes, final: bool) -> tuple[list[Edit], int]:
        inner, place = _unescape(raw, final)
        found, keep = self._document.scan(inner, final)
        edits = [Edit(place(e.start), place(e.end), escape(e.new)) for e in found]
        return edits, place(keep)


def _unescape(raw: bytes, final: bool) -> tuple[bytes, Callable[[int], int]]:
    """What a string's inside means, and from places in it to places in `raw`.

    An unfinished escape at the end is left out.
    """
    parts: list[bytes] = []
    means, written = [0], [0]
    size = at = 0
    while (escaped := raw.find(b"\\", at)) >= 0:
        parts.append(raw[at:escaped])
        size += escaped - at
        meaning = unit(raw, escaped, final)
        if meaning is None:
            break
        piece, at = meaning
        parts.append(piece)
        size += len(piece)
        means.append(size)
        written.append(at)
    else:
        parts.append(raw[at:])

    def place(inner: int) -> int:
        part = bisect_right(means, inner) - 1
        return written[part] + inner - means[part]

    return b"".join(parts), place


def every_string(tokens: Tokens) -> Choose:
    """Restores in all strings, and in the JSON inside of `arguments`."""
    text = Text(tokens)

    def choose(path: Path) -> Scanner:
        # Anthropic's `input` is the arguments themselves, whatever their names are.
        if path and path[-1] == "arguments" and "input" not in path:
            return Nested(text)
        return text

    return choose


def only_string(data: bytes, key: str) -> tuple[int, int] | None:
    """Where the inside of the string under `key` is, if there is one place at which it can be.

    Keys with escapes in them are not seen.
    """
    found = _field(key).finditer(data)
    first = next(found, None)
    return first.span(1) if first is not None and next(found, None) is None else None


@lru_cache(maxsize=64)
def _field(key: str) -> re.Pattern[bytes]:
    name = re.escape(key.encode())
    own = rb'"%b"(?<!\\"%b)' % (name, name + b'"')  # this way round `re` can look for the name
    return re.compile(own + rb'\s*+:\s*+"((?:[^"\\]++|\\.)*+)"', re.DOTALL)


class Stream:
    """A scanner together with the bytes that it holds back."""

    __slots__ = ("_scanner", "held")

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        """The next piece; returns what can be sent on now."""
        return self._scan(data, final=False)

    def finish(self, data: bytes = b"") -> bytes:
        """The last piece; returns all the rest."""
        return self._scan(data, final=True)

    def _scan(self, data: bytes, final: bool) -> bytes:
        raw = self.held + data
        edits, keep = self._scanner.scan(raw, final)
        self.held = raw[keep:]
        return apply(raw, edits, keep)
