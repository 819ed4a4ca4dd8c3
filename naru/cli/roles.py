"""`naru control-plane`, `ext-proc`, `failover`, `envoy`: one role each, for containers.

Their packages are imported only here and only when asked for: the light install does not have what
they need.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from naru.bootstrap import BootstrapSettings
from naru.bootstrap import bootstrap as build
from naru.cli._options import AddressType, envoy_options
from naru.up.addresses import Address
from naru.up.errors import UpError
from naru.up.settings import TRANSPORTS

_OURS = ("control_plane", "ext_proc", "naru")


@click.command("control-plane")
def control_plane() -> None:
    """Run the control plane: REST API and xDS. Settings come from NARU_* variables."""
    settings = server_part("control_plane.settings")
    main = server_part("control_plane.main")
    _log_to_stderr()
    try:
        chosen = settings.Settings.from_environ()
    except settings.SettingsError as error:
        raise click.UsageError(str(error)) from error
    main.run(chosen)


@click.command("ext-proc")
@click.option(
    "--socket",
    envvar="NARU_EXT_PROC_SOCKET",
    required=True,
    type=click.Path(path_type=Path),
    help="The Unix socket to listen on.",
)
@click.option(
    "--xds-address",
    envvar="NARU_XDS_ADDRESS",
    type=AddressType(),
    default="127.0.0.1:10002",
    show_default=True,
)
@click.option("--node-id", envvar="NARU_NODE_ID", default="ext-proc-0", show_default=True)
@click.option(
    "--transport",
    envvar="NARU_TRANSPORT",
    type=click.Choice(TRANSPORTS),
    default="native",
    show_default=True,
    help="native is this product's own, and the fast one.",
)
@click.option(
    "--state-dir",
    envvar="NARU_EXT_PROC_STATE_DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to keep the last known good plans, sealed, to start from while the control plane "
    "is away.  [default: nowhere]",
)
@click.option(
    "--state-key-file",
    envvar="NARU_EXT_PROC_STATE_KEY_FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The key that seals them: 32 bytes in base64, mode 0600.",
)
@click.option(
    "--grace",
    envvar="NARU_EXT_PROC_GRACE",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    help="Seconds after SIGTERM in which the answers that it has may end.",
)
@click.option(
    "--listen-fd",
    type=click.IntRange(min=0),
    help="The socket if it is open already, as a file descriptor; not with grpcio. A service "
    "manager may hand it over instead (LISTEN_FDS=1, LISTEN_PID).",
)
@click.option(
    "--ready-fd",
    type=click.IntRange(min=0),
    help="A file descriptor to write a newline to once requests are served.",
)
def ext_proc(
    socket: Path,
    xds_address: Address,
    node_id: str,
    transport: str,
    state_dir: Path | None,
    state_key_file: Path | None,
    grace: float,
    listen_fd: int | None,
    ready_fd: int | None,
) -> None:
    """Run one ext_proc worker.

    A worker that makes its socket itself takes it away when it ends, and what connects until the
    next one listens is refused. With a socket that somebody else keeps open nothing is refused, and
    two workers may serve it at once: start the new one, wait for its newline, then SIGTERM the old.
    """
    worker, transports = server_part("ext_proc.worker"), server_part("ext_proc.transport")
    if listen_fd is None:
        listen_fd = transports.activated(os.environ, os.getpid())
    if (state_dir is None) != (state_key_file is None):
        raise click.UsageError("--state-dir and --state-key-file need each other.")
    settings = worker.WorkerSettings(
        socket,
        str(xds_address),
        node_id,
        transport=transport,
        listener=listen_fd,
        state_dir=state_dir,
        state_key_file=state_key_file,
        grace=grace,
    )
    try:
        server_part("ext_proc.__main__").serve(settings, ready_fd)
    except OSError as error:
        raise click.ClickException(f"The worker cannot listen on {socket}: {error}") from error


@click.command("failover")
@click.option(
    "--socket",
    envvar="NARU_FAILOVER_SOCKET",
    required=True,
    type=click.Path(path_type=Path),
    help="The Unix socket that Envoy asks at.",
)
@click.option(
    "--xds-address",
    envvar="NARU_XDS_ADDRESS",
    type=AddressType(),
    default="127.0.0.1:10002",
    show_default=True,
)
@click.option(
    "--state-file",
    envvar="NARU_FAILOVER_STATE_FILE",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the last known good configuration is kept, sealed.",
)
@click.option(
    "--state-key-file",
    envvar="NARU_FAILOVER_STATE_KEY_FILE",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The key that seals it: 32 bytes in base64, mode 0600.",
)
@click.option("--node-id", envvar="NARU_NODE_ID", default="failover", show_default=True)
def failover(
    socket: Path, xds_address: Address, state_file: Path, state_key_file: Path, node_id: str
) -> None:
    """Keep what an Envoy on this machine starts from while every control plane is away.

    Give Envoy the same --failover-socket.
    """
    package = server_part("control_plane.failover")
    settings = package.FailoverSettings(
        socket, str(xds_address), state_file, state_key_file, node_id
    )
    try:
        server_part("control_plane.failover.__main__").serve(settings)
    except OSError as error:
        raise click.ClickException(f"The failover cannot listen on {socket}: {error}") from error


@click.command("envoy")
@click.option(
    "--data-dir",
    envvar="NARU_DATA_DIR",
    default=".naru",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the bootstrap is written.",
)
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=None, help="Worker threads.  [cores]"
)
@envoy_options
def envoy(data_dir: Path, concurrency: int | None, settings: BootstrapSettings) -> None:
    """Become an Envoy of this gateway (the process is replaced)."""
    from naru.up.files import prepare_data_dir, write_atomically
    from naru.up.parts import envoy_command

    try:
        path = prepare_data_dir(data_dir) / "envoy-bootstrap.json"
        write_atomically(path, json.dumps(build(settings), indent=2).encode())
        argv = envoy_command(path, concurrency or len(os.sched_getaffinity(0)))
    except (UpError, OSError) as error:
        raise click.ClickException(str(error)) from error
    sys.stdout.flush()
    os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted


def server_part(name: str) -> Any:
    """A module of the server.

    Raises:
        click.ClickException: what it needs is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _OURS:
            raise
        raise click.ClickException(
            f"This needs the package {error.name!r}: install naru-gateway[server]"
        ) from error


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
