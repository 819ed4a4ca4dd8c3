"""`naru tokens` and `naru whoami`: API tokens, made, listed and revoked."""

from __future__ import annotations

from datetime import timedelta

import click

from naru.cli._api import Api
from naru.cli._context import GlobalOptions, target
from naru.cli._output import Format, print_document, table
from naru.cli._times import LengthType, from_now

ROLES = ("admin", "operator", "developer", "prompt-editor", "viewer")
"""A test holds them to the server's."""


@click.group()
def tokens() -> None:
    """API tokens: who may do what, for which teams. Needs the role admin."""


@tokens.command()
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(ROLES))
@click.option(
    "--team", "teams", multiple=True, required=True, help="May be repeated; '*': every team."
)
@click.option("--expires", type=LengthType(), help="After 24h, 90d, …  [default: never]")
@click.option("-m", "--message", help="Why, for the audit trail.")
@click.pass_obj
def create(
    options: GlobalOptions,
    name: str,
    roles: tuple[str, ...],
    teams: tuple[str, ...],
    expires: timedelta | None,
    message: str | None,
) -> None:
    """Make a token. It is printed this once, alone on standard output."""
    asked = {"name": name, "roles": list(roles), "teams": list(teams)}
    if expires is not None:
        asked["expiresAt"] = from_now(expires)
    with Api(target(options)) as api:
        made = api.create_token(asked, message)
    until = made["expiresAt"] or "it is revoked"
    click.echo(
        f"Token {made['id']} ({name}), good until {until}. Keep it: only this shows it.", err=True
    )
    click.echo(made["token"])


@tokens.command("list")
@click.option(
    "-o", "--output", "form", type=click.Choice(["table", "yaml", "json"]), default="table"
)
@click.pass_obj
def list_tokens(options: GlobalOptions, form: Format) -> None:
    """Show every token: whose, for what, until when. Never its text."""
    with Api(target(options)) as api:
        items = list(api.tokens())
    if form != "table":
        print_document({"items": items}, form)
    elif not items:
        click.echo("No token yet, but the admin token.")
    else:
        rows = [
            (t["id"], t["name"], " ".join(t["roles"]), " ".join(t["teams"]), t["expiresAt"])
            for t in items
        ]
        click.echo(table(("ID", "NAME", "ROLES", "TEAMS", "EXPIRES"), rows))


@tokens.command()
@click.argument("token_id", metavar="ID")
@click.option("-m", "--message", help="Why, for the audit trail.")
@click.pass_obj
def revoke(options: GlobalOptions, token_id: str, message: str | None) -> None:
    """Make a token useless at once, at every replica."""
    if not (token_id.isalnum() and token_id.isascii()):
        raise click.UsageError("That is no id: `naru tokens list` shows them.")
    with Api(target(options)) as api:
        api.revoke_token(token_id, message)
    click.echo(f"Token {token_id} revoked")


@click.command()
@click.pass_obj
def whoami(options: GlobalOptions) -> None:
    """Show which token is used here, and what it is for."""
    with Api(target(options)) as api:
        found = api.whoami()
    click.echo(f"{found['name']} ({found['id']})")
    click.echo(f"  roles: {', '.join(found['roles'])}")
    click.echo(f"  teams: {', '.join(found['teams'])}")
    click.echo(f"  until: {found['expiresAt'] or 'revoked'}")
