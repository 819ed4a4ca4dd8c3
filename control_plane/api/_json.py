"""Strict JSON: what two parsers could read in two ways is refused.

Refused beside broken syntax: a key given twice, numbers that are not finite, lone surrogates,
integers beyond 64 bit, and nesting that another part of the product could not write again.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, Final, NoReturn

import orjson

from control_plane.api.errors import BadDocument, BodyTooLarge

MOST_DEPTH: Final = 64
"""Levels of lists and objects inside each other."""
MOST_NODES: Final = 2_000_000
"""Values in one body: 24 MiB of empty objects would become 1 GiB in memory."""


def loads(text: str) -> Any:
    """The value of a JSON text; raises BadDocument or BodyTooLarge."""
    if sum(map(text.count, ",[{")) > MOST_NODES:
        raise BodyTooLarge(f"holds more than {MOST_NODES:,} values; send it in parts")
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_not_json, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        raise BadDocument(
            f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except (ValueError, RecursionError):  # digits beyond Python's limit; nesting
        raise BadDocument(
            "not JSON that can be read: a number too long or nesting too deep"
        ) from None
    return checked(value)


def checked(value: Any) -> Any:
    """`value`, if every part of it can be written as JSON again; raises BadDocument."""
    if _depth_exceeds(value, MOST_DEPTH):
        raise BadDocument(f"nested deeper than {MOST_DEPTH} levels")
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise BadDocument(f"holds a value that is not allowed: {error}") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise BadDocument(f"the key {shown(twice)} is given twice in one object")
    return value


def shown(key: str) -> str:
    """A key as an error may show it: short, and printable ASCII only."""
    return ascii(key if len(key) <= 64 else key[:64] + "...")


def _not_json(constant: str) -> NoReturn:
    raise BadDocument(f"{constant} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise BadDocument("a number is too large")
    return number


def _depth_exceeds(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: Any) -> list[Any]:
    found = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [child for child in found if isinstance(child, (dict, list))]
