"""Reading a request's body: JSON objects with checked fields. The same for every dialect."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import orjson

from ext_proc.errors import (
    CompressedBody,
    InvalidJson,
    InvalidRequest,
    UnsupportedMediaType,
)

_T = TypeVar("_T")
_NAMES: Final = {dict: "an object", list: "a list", bool: "true or false", str: "a string"}
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")  # gzip, zstd
_SMALL: Final = 64 << 10  # bytes, of which even the worst are read in 5 ms
_MOST_CONTAINERS: Final = 100_000
_MOST_COMMAS: Final = 1_000_000
JSON: Final = frozenset(("application/json",))
JSON_OR_NONE: Final = JSON | {"", "application/x-www-form-urlencoded"}
"""For requests typed by hand: plain `curl -d` calls everything a form."""


def read(body: bytes, content_type: str | None, accepted: frozenset[str]) -> dict[str, Any]:
    """The object that the body holds; of a field that is there twice, the last.

    Raises:
        UnsupportedMediaType, CompressedBody, InvalidJson: it holds none.
    """
    if (content_type or "").partition(";")[0].strip().lower() not in accepted:
        raise UnsupportedMediaType
    if body.startswith(_COMPRESSED):
        raise CompressedBody
    if len(body) > _SMALL and _is_crowded(body):
        raise InvalidRequest("The request body holds too many values.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidJson from None  # the cause would carry the body
    if not isinstance(value, dict):
        raise InvalidJson
    return value


def _is_crowded(body: bytes) -> bool:
    """Whether it could hold so many values that reading them would hold up everybody else.

    What is counted may stand in strings as well; pictures have none, and long texts few.
    """
    return body.count(b"[") + body.count(b"{") > _MOST_CONTAINERS or body.count(b",") > _MOST_COMMAS


def write(value: dict[str, Any]) -> bytes:
    """The object as JSON.

    Raises:
        InvalidJson: it is nested too deeply (orjson reads 1024 levels and writes 254).
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise InvalidJson("The request body is nested too deeply.") from None


def take(body: dict[str, Any], name: str, kind: type[_T], default: _T) -> _T:
    """Remove a field of a known type from the object.

    Raises:
        InvalidRequest: it has another type.
    """
    value = body.pop(name, default)
    if not isinstance(value, kind):
        raise InvalidRequest(f"The field {name} must be {_NAMES[kind]}.", param=name)
    return value
