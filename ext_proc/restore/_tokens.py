"""The tokens of one plan, or of one request, and which bytes can hold none.

Not a matcher: that is `_text.py`. Building costs a few microseconds, because a request may bring
tokens of its own; so nothing is compiled here but a class of first bytes, which is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import orjson

_SHORT: Final = {c: b"\\" + e.encode() for c, e in zip('"\\/\b\f\n\r\t', '"\\/bfnrt', strict=True)}
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

    __slots__ = ("_by_token", "_escaped", "_needles", "highs", "lengths", "longest", "stop")

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
        size = len(start)
        return any(len(token) > size and token.startswith(start) for token in self._by_token)

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
    """Where to look closer: a byte that begins a token, or an escape."""
    return re.compile(b"[" + b"".join(rb"\x%02x" % byte for byte in sorted({*firsts, 92})) + b"]")
