"""The kinds of resources by every name that people use. A test holds them to the server's."""

from __future__ import annotations

import re
from collections.abc import Mapping

import click

KINDS: Mapping[str, str] = {
    "upstreams": "Upstream",
    "credentials": "Credential",
    "templates": "Template",
    "proxies": "Proxy",
}
"""Plural → kind, in the order in which `get all` shows them."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_NAMES = {kind.lower(): plural for plural, kind in KINDS.items()} | {p: p for p in KINDS}


def plural_of(name: str) -> str:
    """`Proxy`, `proxy` and `proxies` are all `proxies`.

    Raises:
        click.UsageError: there is no such kind.
    """
    plural = _NAMES.get(name.lower())
    if plural is None:
        raise click.UsageError(f"There is no kind {name!r}. The kinds are: {', '.join(KINDS)}.")
    return plural


def name_of(name: str) -> str:
    """The name, if it can be one: it becomes a part of a path.

    Raises:
        click.UsageError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise click.UsageError(f"{name!r} is no name: 1 to 63 of a-z, 0-9 and '-'.")
    return name


def plurals_of(names: str) -> list[str]:
    """A list with commas, or `all`."""
    if names == "all":
        return list(KINDS)
    return [plural_of(name.strip()) for name in names.split(",")]
