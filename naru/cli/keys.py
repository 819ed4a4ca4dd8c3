"""`naru keys`: the keys that seal secrets in etcd."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from naru.cli._api import Api
from naru.cli._context import GlobalOptions, target
from naru.cli._errors import Refused
from naru.cli._output import table


@click.group()
def keys() -> None:
    """The keys that seal secrets: list them, rotate, drop old ones. Needs the admin token."""


@keys.command("list")
@click.pass_obj
def list_(options: GlobalOptions) -> None:
    """Show every key-encryption key by its id, and what needs it."""
    with Api(target(options)) as api:
        found = api.keys()
    rows = [
        (key["id"], _state(key), key["values"], " ".join(key["replicas"])) for key in found["keys"]
    ]
    click.echo(table(("KEY", "STATE", "SEALED VALUES", "FILES OF"), rows))


@keys.command()
@click.pass_obj
def rotate(options: GlobalOptions) -> None:
    """Seal every secret with a new key, while everything runs.

    Callers and nodes notice nothing. It may be interrupted and run again: it then goes on. Older
    keys stay until `naru keys prune`.
    """
    with Api(target(options)) as api:
        progress = api.rotate_keys()
        primary, done = progress["primary"], progress["resealed"]
        click.echo(f"New secrets are sealed with the key {primary}.")
        while progress["left"]:
            click.echo(f"{done} sealed with it, {progress['left']} left")
            progress = api.rotate_keys(primary)
            done += progress["resealed"]
    click.echo(f"Done: {done} values are sealed with it now.")
    if progress["unreadable"]:
        raise Refused(
            f"{progress['unreadable']} values cannot be opened with any key here; `naru status` "
            "names them. Set them again, or bring the key back that sealed them."
        )
    click.echo("`naru keys prune` drops the keys that nothing needs any more.")


@keys.command()
@click.pass_obj
def prune(options: GlobalOptions) -> None:
    """Drop the keys that seal nothing any more, neither in etcd nor in files of control planes.

    A backup of etcd from before a rotation needs the older key: keep that with the backup.
    """
    with Api(target(options)) as api:
        dropped = api.prune_keys()["dropped"]
    click.echo(f"Dropped: {' '.join(dropped)}.")


def _state(key: Mapping[str, Any]) -> str:
    if key["primary"]:
        return "primary" if key["held"] else "primary, missing here"
    if key["needed"]:
        return "needed" if key["held"] else "needed, missing here"
    return "not needed"
