"""What a dialect says about the events of its streams."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol

import orjson

Key = tuple[str | int, ...]
"""Which text. A shorter key is that of all texts that begin with it; `()` is all there are."""

Event = Mapping[str, Any]

_FIELDS: Final = 32
_SIZE: Final = 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """A string in an event that goes on with a text.

    `path` leads to it; `is_json` says that the text is JSON (the arguments of a function).
    """

    key: Key
    path: Key
    is_json: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """The pieces in an event, and the texts to which nothing is added after it."""

    pieces: tuple[Piece, ...] = ()
    ended: frozenset[Key] = frozenset()


class Dialect(Protocol):
    """One way to stream text. A new one is a new module and a line in `_sse.DIALECTS`."""

    def read(self, event: Event, /) -> Reading | None:
        """What the event holds; None if it is none of this dialect's."""

    def again(self, head: Event, key: Key, text: orjson.Fragment, /) -> Event:
        """One more event for a text, like the one that had this `head`."""


def has_ended(key: Key, ended: Collection[Key]) -> bool:
    """Whether it, or all texts that begin like it, are among those that have ended.

    Looks the beginnings of the key up: an event may end as many texts as it has pieces.
    """
    return any(key[:size] in ended for size in range(len(key) + 1))


def is_text(value: object) -> bool:
    """Whether it goes on with a text. What is empty does not: it stands where a text ends, too."""
    return isinstance(value, str) and value != ""


def head(event: Event) -> dict[str, Any]:
    """What is small and plain in an event: ids, the model, times."""
    small = ((key, value) for key, value in event.items() if _is_small(key) and _is_small(value))
    return dict(islice(small, _FIELDS))


def _is_small(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _SIZE and value.isprintable()  # no half of a surrogate pair
    if isinstance(value, int):
        return abs(value) < 1 << 63
    return value is None or isinstance(value, float)
