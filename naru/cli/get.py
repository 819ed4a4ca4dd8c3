"""`naru get`: resources as a table, or as documents that `naru apply` takes."""

from __future__ import annotations

from typing import Any

import click

from naru.cli._api import Api
from naru.cli._context import GlobalOptions, target
from naru.cli._kinds import name_of, plurals_of
from naru.cli._output import Format, print_document, table, to_yaml


@click.command()
@click.argument("kinds")
@click.argument("name", required=False)
@click.option(
    "-o", "--output", "form", type=click.Choice(["table", "yaml", "json"]), default="table"
)
@click.pass_obj
def get(options: GlobalOptions, kinds: str, name: str | None, form: Format) -> None:
    """Show resources: `naru get proxies`, `naru get proxy menu-copy -o yaml`, `naru get all`."""
    plurals = plurals_of(kinds)
    if name is not None and len(plurals) > 1:
        raise click.UsageError("A name needs one kind.")
    with Api(target(options)) as api:
        if name is not None:
            items = [api.get(plurals[0], name_of(name))]
        else:
            items = [item for plural in plurals for item in api.list(plural)]
    if form == "table":
        click.echo(_table(items))
    elif name is not None:
        print_document(items[0], form)
    elif form == "json":
        print_document({"items": items}, form)
    else:
        click.echo(to_yaml(items), nl=False)


def _table(items: list[dict[str, Any]]) -> str:
    if not items:
        return "Nothing yet."
    rows = [
        (item["kind"], meta["name"], meta.get("team"), meta.get("revision"))
        for item in items
        for meta in [item["metadata"]]
    ]
    return table(("KIND", "NAME", "TEAM", "REVISION"), rows)
