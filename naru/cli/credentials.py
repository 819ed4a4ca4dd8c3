"""`naru credentials`: the versions of a provider's secret."""

from __future__ import annotations

import click

from naru.cli._api import Api
from naru.cli._context import GlobalOptions, target
from naru.cli._output import table


@click.group()
def credentials() -> None:
    """Versions of a credential: list them, put an earlier secret back. Needs the admin token."""


@credentials.command()
@click.argument("name")
@click.pass_obj
def versions(options: GlobalOptions, name: str) -> None:
    """Show the versions of a credential, the newest first. No secret is shown."""
    with Api(target(options)) as api:
        items = api.versions(name)["items"]
    rows = [
        (
            item["number"],
            "present" if item["present"] else "kept" if item["kept"] else None,
            item["created"],
            item["by"],
            f"version {item['source']}" if item["source"] else None,
        )
        for item in items
    ]
    click.echo(table(("VERSION", "STATE", "CREATED", "BY", "PUT BACK FROM"), rows))


@credentials.command()
@click.argument("name")
@click.option("--to", "number", type=click.IntRange(min=1), help="Its number.  [the one before]")
@click.option("--wait", metavar="DURATION", help="Wait until every node has it, such as 5s.")
@click.pass_obj
def rollback(options: GlobalOptions, name: str, number: int | None, wait: str | None) -> None:
    """Use the secret of an earlier version again; it becomes a new version."""
    with Api(target(options)) as api:
        found = api.rollback(name, number, wait)
    click.echo(f"{name} is back, at revision {found['metadata']['revision']}.")
