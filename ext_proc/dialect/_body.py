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
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidJson from None  # the cause would carry the body
    if not isinstance(value, dict):
        raise InvalidJson
    return value


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
