"""The tokens of one plan, or of one request, and which bytes can hold none.

Not a matcher: that is `_text.py`. Building costs a few microseconds, because a request may bring
tokens of its own; so nothing is compiled here but two patterns of first characters, which are kept.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Final

import orjson

_SHORT: Final = {c: b"\\" + e.encode() for c, e in zip('"\\/\b\f\n\r\t', '"\\/bfnrt', strict=True)}
_HEAD: Final = 3
"""Characters of a token that are looked at in C: tokens often begin with a doubled bracket."""
_H: Final = rb"[0-9a-fA-F]"
_NAMES: Final = (b"arguments", b"partial_json")
"""Fields that hold JSON as a string. Its state must be followed, so they are never passed over."""
_ESCAPES: Final = (rb"\u005", rb"\u006", rb"\u007")  # a letter of a key, or `\` twice over


class Tokens:
    """What stands for what. Immutable; at one place the longest token wins.

    Args:
        texts: token -> text, for instance `{"[[SHOP]]": "배민상회"}`.

    Raises:
        ValueError: a token is empty, or a token or a text cannot be written in UTF-8.
    """

    __slots__ = (
        "_by_token", "_escaped", "_needles", "_sorted",
        "highs", "lengths", "longest", "skip", "stop",
    )  # fmt: skip

    def __init__(self, texts: Mapping[str, str]) -> None:
        try:
            self._by_token = {token.encode(): text.encode() for token, text in texts.items()}
        except UnicodeEncodeError:
            raise ValueError("a token or its text holds half a character") from None  # no text
        if b"" in self._by_token:
            raise ValueError("a token is empty")
        self.lengths = sorted({len(token) for token in self._by_token}, reverse=True)
        self.longest = max(self.lengths, default=0)
        self.stop = _stop(frozenset(token[0] for token in self._by_token))
        self.highs = frozenset(f"{_high(t[0]):04x}".encode() for t in texts if t[0] > "\uffff")
        self._sorted = sorted(self._by_token)
        self.skip = _skip(frozenset([token[:_HEAD] for token in texts]))
        self._needles = tuple(_needles({token[:2] for token in texts}))
        self._escaped = (*{_escape(token[0]) for token in texts}, *_ESCAPES)

    def __len__(self) -> int:
        return len(self._by_token)

    def text(self, token: bytes) -> bytes | None:
        """What to put in, as the inside of a JSON string; None if this is no token."""
        text = self._by_token.get(token)
        return None if text is None else escape(text)

    def may_become(self, start: bytes) -> bool:
        """Whether a token goes on after these bytes."""
        after = bisect_right(self._sorted, start)
        return after < len(self._sorted) and self._sorted[after].startswith(start)

    def are_of_no_concern(self, data: bytes) -> bool:
        """Whether events can be passed over."""
        return not any(name in data for name in _NAMES) and self.are_absent(data)

    def are_absent(self, data: bytes) -> bool:
        """Whether the strings in JSON certainly hold no token, nor end with a part of one.

        Looks for the first two characters of the tokens, or the first one at the end of a string
        or before an escape: a few searches in C instead of a parser.
        """
        for needle in self._needles:
            if needle in data:
                return False
        if b"\\u" not in data:
            return True
        lower = data.lower()
        return not any(needle in lower for needle in self._escaped)


def escape(text: bytes) -> bytes:
    """The inside of a JSON string that means this text."""
    return orjson.dumps(text.decode())[1:-1]


def _needles(heads: Iterable[str]) -> set[bytes]:
    needles = set()
    for head in heads:
        first = head[0]
        if first in _SHORT:
            needles.add(_SHORT[first])
            if first != "/":
                continue  # written in no other way
        if len(head) == 1:
            needles.add(first.encode())
        else:
            needles.update((head.encode(), first.encode() + b'"', first.encode() + b"\\"))
    return needles


def _escape(character: str) -> bytes:
    """The beginning of its escape, in small letters."""
    return rb"\u%04x" % (_high(character) if character > "\uffff" else ord(character))


def _high(character: str) -> int:
    """The first surrogate of a character above U+FFFF."""
    return 0xD800 + ((ord(character) - 0x10000) >> 10)


@lru_cache(maxsize=256)
def _stop(firsts: frozenset[int]) -> re.Pattern[bytes]:
    """A byte that begins a token, or an escape."""
    return re.compile(_any(firsts | {92}))


@lru_cache(maxsize=256)
def _skip(heads: frozenset[str]) -> re.Pattern[bytes]:
    """Passes over what begins no token, up to where to look closer.

    An answer may be nothing but first characters and escapes, so the first few characters are
    looked at here, in C. Knows no more of them than which bytes and digits may stand at each place,
    so that it stays small. Stops at what is unfinished.
    """
    starts = {head.encode()[0] for head in heads}
    other = _any({*range(256)} - {92, *starts})
    escape = rb"\\u%b{4}|\\(?!u%b{0,3}\Z)." % (_H, _H)
    head = _head(heads)
    return re.compile(
        rb"(?:%b++|(?!%b)(?:%b|%b))*+" % (other, head, _any(starts - {92}), escape), re.DOTALL
    )


def _head(heads: Collection[str], cut: bytes = b"") -> bytes:
    """A pattern of what may begin with one of them, or is cut off."""
    if not heads:
        return b"(?!)"
    firsts = {head[0] for head in heads}
    plain = _any({first.encode()[0] for first in firsts} - {92})
    seconds = {head[1:] for head in heads}
    follows = b""  # also where what follows cannot be said: after half of a pair
    if "" not in seconds and max(firsts) <= "\uffff":
        follows = _head(seconds, rb"\Z|")
    escaped = _escaped(firsts, cut)
    return rb"(?:%b%b[\x80-\xbf]*+|\\(?:%b%b))%b" % (cut, plain, cut, escaped, follows)


def _escaped(characters: Collection[str], cut: bytes = b"") -> bytes:
    """A pattern of what may stand behind the backslash of one of them, or is cut off."""
    digits = zip(*(_escape(character)[2:] for character in characters), strict=True)
    four = b""
    for digit in reversed([*digits]):
        four = b"(?:%b%b%b)" % (cut, _any({*digit, *bytes(digit).upper()}), four)
    short = _any({_SHORT[character][1] for character in characters if character in _SHORT})
    return b"(?:%b|u%b)" % (short, four)


def _any(values: Collection[int]) -> bytes:
    """A pattern of one byte of these."""
    return b"[%b]" % b"".join(rb"\x%02x" % value for value in sorted(values)) if values else b"(?!)"
