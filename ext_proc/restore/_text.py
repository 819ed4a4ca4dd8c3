r"""Finding tokens inside one JSON string whose raw bytes come in pieces.

Every scanner of this package keeps one contract: it is given bytes, says what to replace in them,
and from where on they must be held back. What is held back is given again, in front of the next
piece; the scanner's own state is that of the place where the held bytes begin.

Works on the bytes as they are written, so that what is not replaced stays as it was: `[`, `\u005b`
and `\u005B` are the same character. UTF-8 needs no decoding: where the bytes of a token stand, the
token stands.  https://www.rfc-editor.org/rfc/rfc8259#section-7
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from ext_proc.restore._tokens import Tokens

BACKSLASH: Final = 0x5C
_H = rb"[0-9a-fA-F]"
_HIGH = rb"[dD][89abAB]" + _H * 2
_ESCAPE: Final = re.compile(
    rb"\\(?:u(%b)\\u([dD][c-fC-F]%b)|u(%b)|(.))" % (_HIGH, _H * 2, _H * 4), re.DOTALL
)
_UNFINISHED: Final = re.compile(
    rb"\\(?:u(?:%b{0,3}|%b(?:\\(?:u(?:[dD](?:[c-fC-F]%b?)?)?)?)?))?\Z" % (_H, _HIGH, _H)
)
_SHORT: Final = dict(zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True))
_FOREIGN: Final = b"\xff"  # stands for what JSON does not know; in no token


class Edit(NamedTuple):
    """Bytes to be replaced, from `start` to before `end`."""

    start: int
    end: int
    new: bytes


class Scanner(Protocol):
    """See the module's docstring."""

    def scan(self, raw: bytes, final: bool) -> tuple[list[Edit], int]:
        """What to replace, and where what is held back begins (`len(raw)`: nowhere).

        `final` says that nothing follows: then nothing is held back.
        """


def apply(raw: bytes, edits: Iterable[Edit], end: int) -> bytes:
    """`raw` up to `end`, edited."""
    parts: list[bytes] = []
    done = 0
    for start, stop, new in edits:
        parts += (raw[done:start], new)
        done = stop
    parts.append(raw[done:end])
    return b"".join(parts)


def shifted(edits: Iterable[Edit], by: int) -> list[Edit]:
    """The same edits, further on."""
    return [Edit(edit.start + by, edit.end + by, edit.new) for edit in edits]


def unit(raw: bytes, at: int, final: bool) -> tuple[bytes, int] | None:
    """The bytes that the escape at `at` means, and its end; None while it is unfinished."""
    if not final and _UNFINISHED.match(raw, at):
        return None
    found = _ESCAPE.match(raw, at)
    if found is None:
        return _FOREIGN, at + 1
    high, low, one, short = found.groups()
    if high:
        code = 0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00
    elif one:
        code = int(one, 16)
    elif (known := _SHORT.get(short[0])) is not None:
        code = known
    else:
        return _FOREIGN, found.end()
    return chr(code).encode("utf-8", "surrogatepass"), found.end()


class Text:
    """Scans the inside of a JSON string for tokens; without a state of its own."""

    __slots__ = ("_tokens",)

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def scan(self, raw: bytes, final: bool) -> tuple[list[Edit], int]:
        edits: list[Edit] = []
        at = 0
        skip = self._tokens.skip.match
        while (found := skip(raw, at)) and (at := found.end()) < len(raw):
            text, ends = self._window(raw, at, final)
            if not final and self._is_open(text, raw, at):
                return edits, at
            size, new = self._longest(text)
            if new is not None:
                edits.append(Edit(at, ends[size - 1], new))
                at = ends[size - 1]
            else:
                at = ends[0] if ends else at + 6  # half a pair that can begin no token
        return edits, len(raw)

    def _window(self, raw: bytes, at: int, final: bool) -> tuple[bytes, range | list[int]]:
        """What stands at `at`, as far as a token may reach, and where each byte of it ends."""
        text = raw[at : at + self._tokens.longest]
        if BACKSLASH in text:
            text = text[: text.index(BACKSLASH)]
            if not text or self._tokens.may_become(text):
                return self._decoded(text, raw, at, final)
        return text, range(at + 1, at + 1 + len(text))

    def _decoded(self, text: bytes, raw: bytes, at: int, final: bool) -> tuple[bytes, list[int]]:
        """The same where there are escapes: goes on after the `text` in front of the first."""
        places = [*range(at + 1, at + 1 + len(text))]
        at += len(text)
        while at < len(raw) and (not text or self._tokens.may_become(text)):
            piece, end = raw[at : at + 1], at + 1
            if piece == b"\\":
                escaped = unit(raw, at, final)
                if escaped is None:
                    break
                piece, end = escaped
            text += piece
            places += [end] * len(piece)
            at = end
        return text, places

    def _is_open(self, text: bytes, raw: bytes, at: int) -> bool:
        """Whether what comes next may make a (longer) token of this."""
        if text:
            return len(text) < self._tokens.longest and self._tokens.may_become(text)
        return len(raw) - at < 6 or raw[at + 2 : at + 6].lower() in self._tokens.highs

    def _longest(self, text: bytes) -> tuple[int, bytes | None]:
        for size in self._tokens.lengths:
            if size <= len(text) and (new := self._tokens.text(text[:size])) is not None:
                return size, new
        return 0, None
