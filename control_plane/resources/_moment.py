"""A moment in a document: RFC 3339, with its offset from UTC; kept in UTC, to the second."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer

_RFC_3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _parse(value: object) -> object:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC).replace(microsecond=0)
        except (ValueError, OverflowError):
            pass
    raise ValueError('not a moment with its offset from UTC, such as "2026-12-31T00:00:00Z"')


def show(value: datetime) -> str:
    """As it is written in documents and answers."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Moment = Annotated[
    datetime,
    BeforeValidator(_parse, json_schema_input_type=str),
    PlainSerializer(show, return_type=str),
]
