"""The command `naru`. One file for each command; nothing of the server is imported here."""

from __future__ import annotations

import click

from naru.cli._context import GlobalOptions, global_options
from naru.cli.apply import apply
from naru.cli.audit import audit
from naru.cli.bootstrap import bootstrap
from naru.cli.delete import delete
from naru.cli.get import get
from naru.cli.restart import restart
from naru.cli.roles import control_plane, envoy, ext_proc, failover
from naru.cli.status import status
from naru.cli.tokens import tokens, whoami
from naru.cli.up import up

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="naru-gateway", prog_name="naru")
@global_options
@click.pass_context
def main(context: click.Context, options: GlobalOptions) -> None:
    """One gateway in front of every AI call.

    Exit status: 0 done, 1 refused, 2 wrong usage, 3 unreachable, 4 stored but not live yet.
    """
    context.obj = options


for command in (
    *(up, apply, get, delete, status, restart, bootstrap),
    *(tokens, whoami, audit),
    *(control_plane, ext_proc, failover, envoy),
):
    main.add_command(command)
