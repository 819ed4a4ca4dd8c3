"""`naru up`: everything on one machine."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from naru.cli._context import GlobalOptions


@click.command()
@click.option("--demo", is_flag=True, help="With a local model, a proxy for it, and a first call.")
@click.option("--tls", is_flag=True, help="TLS with client certificates for xDS and etcd.")
@click.option("--open", "open_", is_flag=True, help="No key is needed to call. Loopback only.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to keep keys, data and sockets.  [default: .naru]",
)
@click.pass_obj
def up(options: GlobalOptions, demo: bool, open_: bool, tls: bool, data_dir: Path | None) -> None:
    """Run etcd, the control plane, ext_proc and Envoy until Ctrl-C.

    Ctrl-C once lets requests that are under way finish; twice stops at once.
    """
    from naru.up import UpError
    from naru.up import up as run

    try:
        where = data_dir or options.data_dir
        sys.exit(run(data_dir=where, demo=demo, open_=open_, tls=tls))
    except UpError as error:
        raise click.ClickException(str(error)) from error
