"""Lengths of time as people write them for days and hours: `30m`, `24h`, `90d`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_LENGTH = re.compile(r"(\d{1,5})([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class LengthType(click.ParamType[timedelta]):
    """An option that takes such a length."""

    name = "length"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = _LENGTH.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no length of time; write 30m, 24h or 90d", param, ctx)
        return timedelta(**{_UNITS[match[2]]: int(match[1])})


def from_now(length: timedelta) -> str:
    """The time so far from now (negative: before), as the API takes it (RFC 3339)."""
    at = datetime.now(UTC).replace(microsecond=0) + length
    return at.isoformat().replace("+00:00", "Z")
