"""`naru audit`: who wrote what, when and why; and whether the trail is whole."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from naru.cli._api import Api
from naru.cli._context import GlobalOptions, target
from naru.cli._errors import Refused
from naru.cli._output import Format, print_document, table
from naru.cli._times import LengthType, from_now


@click.group(invoke_without_command=True)
@click.option("--since", type=LengthType(), default="24h", show_default=True, help="30m, 24h, 7d")
@click.option("--actor", help="Only writes with the token of this id.")
@click.option("--resource", help="Only writes of one resource, such as proxies/menu-copy.")
@click.option(
    "-o", "--output", "form", type=click.Choice(["table", "yaml", "json"]), default="table"
)
@click.pass_context
def audit(
    context: click.Context,
    since: timedelta,
    actor: str | None,
    resource: str | None,
    form: Format,
) -> None:
    """Show the audit trail, the oldest first. Needs the role admin."""
    if context.invoked_subcommand is not None:
        return
    options: GlobalOptions = context.obj
    asked = {"since": from_now(-since), "actor": actor, "resource": resource}
    with Api(target(options)) as api:
        items = list(api.audit({name: value for name, value in asked.items() if value}))
    if form != "table":
        print_document({"items": items}, form)
    elif not items:
        click.echo("Nothing was written.")
    else:
        rows = [_row(item) for item in items]
        click.echo(table(("TIME", "REVISION", "WHO", "FROM", "WHAT", "WHY"), rows))


@audit.command()
@click.pass_obj
def verify(options: GlobalOptions) -> None:
    """Check that no entry was altered or taken out. Prints the newest entry's number and hash.

    Note them elsewhere: whoever can write to etcd can also make a new trail, but not one that ends
    in a hash that you know.
    """
    with Api(target(options)) as api:
        found = api.verify_audit()
    head = found["head"]
    click.echo(f"{found['entries']} entries, the newest {head['number']} {head['hash']}")
    if found["first"] > 1:
        click.echo(f"The entries before {found['first']} are not there any more.")
    if not found["whole"]:
        raise Refused("The trail is not whole:\n" + "\n".join(f"  {p}" for p in found["problems"]))


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    if "actor" not in entry:
        return None, entry["revision"], None, None, "an entry that cannot be read", None
    actor = entry["actor"]
    what = [f"{r['kind'].lower()}/{r['name']} {r['change']}" for r in entry["resources"]]
    more = f" and {len(what) - 3} more" if len(what) > 3 else ""
    return (
        entry["time"],
        entry["revision"],
        actor["name"] if actor["name"] == actor["id"] else f"{actor['name']} ({actor['id']})",
        entry["client"],
        ", ".join(what[:3]) + more,
        entry["message"],
    )
