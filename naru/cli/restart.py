"""`naru restart`: new workers in the place of the old ones, without a lost request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from naru.cli._context import GlobalOptions
from naru.cli._errors import Refused, Unreachable


@click.command()
@click.pass_obj
def restart(options: GlobalOptions) -> None:
    """Restart the ext_proc workers of the `naru up` here, one after the other.

    Each new worker starts beside the old one and takes over once it has its plans; the old one then
    finishes the requests that it has. No request fails. An answer that streams through the old one
    may go on for 300 seconds; the command does not wait for it. A new one that does not come up
    leaves the old one in its place, and ends the command with status 1.

    With NARU_TRANSPORT=grpcio two workers cannot serve one socket: the old one ends first, and
    requests that meet the gap get a 503.
    """
    said = list(_ask(options.data_dir))
    failed = [line for line in said if "error" in line]
    if not said or "done" not in said[-1]:
        raise Unreachable(f"The `naru up` on {options.data_dir} ended meanwhile.")
    if failed:
        raise Refused("Not every worker was restarted; the others are as they were.")


def _ask(data_dir: Path) -> Any:
    from naru.up.control import ask

    try:
        for line in ask(data_dir, "restart"):
            if "done" not in line:
                click.echo(_in_words(line))
            yield line
    except (OSError, ValueError) as error:
        raise Unreachable(f"No `naru up` runs on {data_dir}.") from error


def _in_words(line: Mapping[str, Any]) -> str:
    if "error" in line:
        return str(line["error"])
    said = f"{line['name']}: pid {line['old']} -> {line['new']}, {line['seconds']:.1f} s"
    return f"{said}; the old one finishes its answers" if line.get("finishing") else said
