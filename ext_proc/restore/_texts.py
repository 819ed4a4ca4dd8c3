"""The texts that are under way in one stream of events, and what is held back of each.

A text is forgotten as soon as nothing is held back and nothing must be remembered of it, so there
are as many here as are being spoken at the moment, not as there ever were.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import orjson

from ext_proc.errors import AnswerUnreadable
from ext_proc.restore._frame import Frame, make
from ext_proc.restore._json import Nested, Stream
from ext_proc.restore._model import Dialect, Event, Key, Piece, has_ended, head
from ext_proc.restore._text import Text
from ext_proc.restore._tokens import Tokens

MAX_TEXTS: Final = 256
_SMALL: Final = 4096


@dataclass(frozen=True, slots=True)
class Source:
    """The event that a piece came in: an event for what is held back looks like it.

    Of a large event only the head is kept, and found once for all of its pieces.
    """

    dialect: Dialect
    event: Event
    frame: Frame

    @classmethod
    def of(cls, dialect: Dialect, event: Event, frame: Frame) -> Source:
        is_small = len(frame.data) <= _SMALL
        return cls(dialect, event if is_small else head(event), frame)


@dataclass(slots=True)
class _Open:
    """A text under way."""

    stream: Stream
    nested: Nested | None
    dialect: Dialect
    event: Event
    name: bytes
    newline: bytes

    @property
    def is_idle(self) -> bool:
        return not self.stream.held and (self.nested is None or self.nested.is_idle)


class Texts:
    """All texts of one answer."""

    __slots__ = ("_open", "_text")

    def __init__(self, tokens: Tokens) -> None:
        self._text = Text(tokens)
        self._open: dict[Key, _Open] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def feed(self, piece: Piece, raw: bytes, source: Source, last: bool) -> bytes:
        """The inside of a string that goes on with a text; returns what stands there instead.

        Raises:
            AnswerUnreadable: too many texts are under way.
        """
        text = self._open.pop(piece.key, None) or self._begin(piece.is_json, source)
        if last:
            return text.stream.finish(raw)
        new = text.stream.feed(raw)
        if not text.is_idle:
            if len(self._open) == MAX_TEXTS:
                raise AnswerUnreadable
            text.event = source.event
            text.name = source.frame.name
            self._open[piece.key] = text
        return new

    def flush(self, ended: Collection[Key], but: Collection[Key] = ()) -> bytes:
        """Events for what is held back of the texts that have ended; `but` not for these."""
        if not self._open:
            return b""
        keys = [key for key in self._open if key not in but and has_ended(key, ended)]
        return b"".join(self._last_event(key) for key in keys)

    def _begin(self, is_json: bool, source: Source) -> _Open:
        nested = Nested(self._text) if is_json else None
        stream = Stream(nested or self._text)
        return _Open(stream, nested, source.dialect, {}, b"", source.frame.newline)

    def _last_event(self, key: Key) -> bytes:
        text = self._open.pop(key)
        rest = text.stream.finish()
        if not rest:
            return b""
        event = text.dialect.again(head(text.event), key, orjson.Fragment(b'"%b"' % rest))
        return make(text.name, orjson.dumps(event), text.newline)
