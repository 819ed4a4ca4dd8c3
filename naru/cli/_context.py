"""Where the control plane is: options of `naru` itself, the environment, or a running `naru up`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from naru.cli._errors import Unreachable

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """As given; `endpoints` says what is meant."""

    api_url: str | None
    token: str | None = field(repr=False)
    data_dir: Path


@dataclass(frozen=True, slots=True)
class Target:
    """The control plane to talk to."""

    url: str
    token: str = field(repr=False)


def global_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command a `GlobalOptions` as `options`."""

    @click.option("--api-url", envvar="NARU_API_URL", help="The control plane (or NARU_API_URL).")
    @click.option(
        "--token", envvar="NARU_TOKEN", help="An API token. Better in NARU_TOKEN than here."
    )
    @click.option(
        "--data-dir",
        envvar="NARU_DATA_DIR",
        default=".naru",
        show_default=True,
        type=click.Path(path_type=Path, file_okay=False),
        help="Where `naru up` keeps its files (or NARU_DATA_DIR).",
    )
    @functools.wraps(command)
    def with_options(
        *args: Any, api_url: str | None, token: str | None, data_dir: Path, **rest: Any
    ) -> R:
        return command(*args, options=GlobalOptions(api_url, token, data_dir), **rest)

    return with_options


def read_endpoints(data_dir: Path) -> dict[str, Any] | None:
    """What a `naru up` on that directory has written; none if none runs there."""
    try:
        found = json.loads((data_dir / "endpoints.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def target(options: GlobalOptions) -> Target:
    """The control plane: as asked for, else that of the `naru up` on the data directory.

    Raises:
        Unreachable: nothing says where it is, or what token it takes.
    """
    endpoints = read_endpoints(options.data_dir) or {}
    url = options.api_url or endpoints.get("api")
    if not url:
        raise Unreachable(
            f"No `naru up` runs on {options.data_dir}, and NARU_API_URL is not set. "
            "Start `naru up`; or name its directory with NARU_DATA_DIR (or `naru --data-dir`), or "
            "another control plane with NARU_API_URL and NARU_TOKEN."
        )
    token = options.token or _read_token(options, endpoints)
    if not (token.isascii() and token.isprintable()):
        raise Unreachable("The token holds a character that no token has. Check NARU_TOKEN.")
    return Target(url.rstrip("/"), token)


def _read_token(options: GlobalOptions, endpoints: dict[str, Any]) -> str:
    """The token of the `naru up` here. It is never sent to another control plane that was named."""
    if options.api_url and options.api_url.rstrip("/") != endpoints.get("api"):
        raise Unreachable(f"Set NARU_TOKEN to a token of {options.api_url}.")
    path = Path(endpoints.get("admin_token_file") or options.data_dir / "admin-token")
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise Unreachable(f"Cannot read the admin token in {path}. Set NARU_TOKEN.") from error
