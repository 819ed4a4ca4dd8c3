"""`naru apply`: many documents, one transaction."""

from __future__ import annotations

from typing import Any

import click

from naru.cli._api import Api, seconds
from naru.cli._context import GlobalOptions, target
from naru.cli._documents import read_documents
from naru.cli._errors import NotLive


def _check_wait(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    try:
        if value is not None:
            seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return value


@click.command()
@click.option(
    "-f",
    "--filename",
    "sources",
    multiple=True,
    required=True,
    metavar="FILE|DIR|-",
    help="YAML or JSON; of a directory, every such file in it. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, and write nothing.")
@click.option(
    "--wait",
    is_flag=False,
    flag_value="5s",
    metavar="[DURATION]",
    callback=_check_wait,
    help="Wait until every node has it, for 5s or as long as given.",
)
@click.option("-m", "--message", help="Why, for the audit trail.")
@click.pass_obj
def apply(
    options: GlobalOptions,
    sources: tuple[str, ...],
    dry_run: bool,
    wait: str | None,
    message: str | None,
) -> None:
    """Create and update resources: all of them, or none."""
    documents = read_documents(sources)
    with Api(target(options)) as api:
        code, answer = api.apply(documents, dry_run=dry_run, wait=wait, message=message)
    for result in answer.get("results", []):
        ending = " (dry run)" if dry_run else ""
        click.echo(f"{result['kind'].lower()}/{result['name']} {result['change']}{ending}")
    if dry_run:
        for change in answer.get("difference", []):
            click.echo(f"  {change['change']:<8} {change['type']} {change['name']}")
    else:
        _report(code, answer)


def _report(code: int, answer: dict[str, Any]) -> None:
    status = answer.get("status") or {}
    waiting = [
        f"  {node}: {found.get('state')} {found.get('detail') or ''}".rstrip()
        for node, found in sorted((status.get("nodes") or {}).items())
        if found.get("state") != "applied"
    ]
    nodes = "\n".join(waiting) or "  no Envoy is connected"
    if code == 202:
        raise NotLive(f"Revision {answer.get('revision')} is stored, but not live yet:\n{nodes}")
