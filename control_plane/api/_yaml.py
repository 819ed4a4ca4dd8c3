"""YAML, cut to what JSON can say: the documents of a text, built from the parser's events.

No aliases (so no "billion laughs"), no tags that make objects, no key twice, string keys only.
Dates stay strings, and only `true`/`false` are booleans (YAML 1.2's core schema), so a country code
`no` stays one. Building from events instead of PyYAML's own composer keeps every limit in one loop,
without recursion. Specification: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Final

import yaml
from yaml import events

from control_plane.api import _json
from control_plane.api._json import MOST_DEPTH, MOST_NODES, shown
from control_plane.api.errors import BadDocument, BodyTooLarge

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_INT: Final = re.compile(r"[-+]?[0-9]{1,20}", re.ASCII)
_FLOAT: Final = re.compile(
    r"[-+]?(\.[0-9]{1,64}|[0-9]{1,64}(\.[0-9]{0,64})?)([eE][-+]?[0-9]{1,4})?", re.ASCII
)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)
_PLAIN_TAGS: Final = frozenset({None, "!"})
_TAGS: Final = frozenset({f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq")})
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_all(text: str) -> Iterator[Any]:
    """The documents of a YAML text, empty ones left out; raises BadDocument or BodyTooLarge."""
    builder = _Builder()
    try:
        for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
            if count > MOST_NODES:
                raise BodyTooLarge(f"holds more than {MOST_NODES:,} values; send it in parts")
            if isinstance(event, events.DocumentEndEvent) and builder.root is not None:
                yield _json.checked(builder.root)
                builder = _Builder()
            else:
                builder.take(event)
    except yaml.MarkedYAMLError as error:
        where = f" at {_place(error.problem_mark)}" if error.problem_mark else ""
        raise BadDocument(f"not YAML: {error.problem or 'broken'}{where}") from None
    except (yaml.YAMLError, UnicodeError):
        raise BadDocument("not YAML: holds a character that YAML does not allow") from None


class _Builder:
    """Builds one document; lists and objects that are still open are on a stack."""

    def __init__(self) -> None:
        self.root: Any = None
        self._open: list[dict[str, Any] | list[Any]] = []
        self._keys: list[str | None] = []

    def take(self, event: events.Event) -> None:
        if isinstance(event, events.AliasEvent) or getattr(event, "anchor", None):
            raise BadDocument(f"anchors and aliases are not allowed, at {_place(event.start_mark)}")
        if isinstance(event, events.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, (events.MappingStartEvent, events.SequenceStartEvent)):
            self._start(event)
        elif isinstance(event, (events.MappingEndEvent, events.SequenceEndEvent)):
            self._open.pop()
            self._keys.pop()

    def _start(self, event: events.CollectionStartEvent) -> None:
        if len(self._open) >= MOST_DEPTH:
            raise BadDocument(f"nested deeper than {MOST_DEPTH} levels")
        _check_tag(event)
        self._refuse_as_key(event)
        value: dict[str, Any] | list[Any]
        value = {} if isinstance(event, events.MappingStartEvent) else []
        self._put(value)
        self._open.append(value)
        self._keys.append(None)

    def _refuse_as_key(self, event: events.Event) -> None:
        if self._awaits_key():
            raise BadDocument(f"a key must be a string, at {_place(event.start_mark)}")

    def _awaits_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1], dict) and self._keys[-1] is None

    def _scalar(self, event: events.ScalarEvent) -> None:
        _check_tag(event)
        if self._awaits_key():
            self._take_key(event)
        else:
            self._put(_value(event))

    def _take_key(self, event: events.ScalarEvent) -> None:
        mapping, key = self._open[-1], str(event.value)
        if key == "<<" and event.implicit[0]:
            raise BadDocument(f"merge keys (<<) are not allowed, at {_place(event.start_mark)}")
        if not isinstance(_value(event), str):
            raise BadDocument(
                f"the key {shown(key)} must be a string, at {_place(event.start_mark)}; quote it"
            )
        if key in mapping:
            raise BadDocument(f"the key {shown(key)} is given twice, at {_place(event.start_mark)}")
        self._keys[-1] = key

    def _put(self, value: Any) -> None:
        if not self._open:
            self.root = value
            return
        container = self._open[-1]
        if isinstance(container, list):
            container.append(value)
            return
        key = self._keys[-1]
        assert key is not None
        container[key] = value
        self._keys[-1] = None


def _check_tag(event: events.ScalarEvent | events.CollectionStartEvent) -> None:
    if event.tag not in _PLAIN_TAGS and event.tag not in _TAGS:
        raise BadDocument(f"tags are not allowed, at {_place(event.start_mark)}")


def _value(event: events.ScalarEvent) -> str | int | float | bool | None:
    """The value of a scalar: quoted or tagged text is text, the rest by the core schema."""
    text = str(event.value)
    if not event.implicit[0] or event.style:
        return text
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    return _number(text, event)


def _number(text: str, event: events.Event) -> str | int | float:
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        raise BadDocument(f"a number must be finite, at {_place(event.start_mark)}")
    return text


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"
