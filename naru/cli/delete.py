"""`naru delete`."""

from __future__ import annotations

import click

from naru.cli._api import Api
from naru.cli._context import GlobalOptions, target
from naru.cli._kinds import KINDS, name_of, plural_of


@click.command()
@click.argument("kind")
@click.argument("name")
@click.option("-m", "--message", help="Why, for the audit trail.")
@click.pass_obj
def delete(options: GlobalOptions, kind: str, name: str, message: str | None) -> None:
    """Delete one resource. One that others use is refused, and they are named."""
    plural = plural_of(kind)
    with Api(target(options)) as api:
        api.delete(plural, name_of(name), message)
    click.echo(f"{KINDS[plural].lower()}/{name} deleted")
