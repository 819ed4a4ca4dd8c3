"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from naru._xds_tls import XdsTls
from naru.bootstrap import DEFAULT_MAX_HEAP_MIB, BootstrapSettings
from naru.up.addresses import Address
from naru.up.errors import UpError


class AddressType(click.ParamType[Address]):
    name = "host:port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(value, explicit=True)
        except UpError as error:
            self.fail(str(error), param, ctx)


class TlsOptions(NamedTuple):
    """Absolute paths of PEM files, and another name than the address for the control plane."""

    ca: Path
    cert: Path
    key: Path
    name: str | None


def xds_tls_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `xds_tls`: a `TlsOptions`, or None without TLS."""

    @_file("--xds-ca", "NARU_XDS_TLS_CA", "The authority of the control plane's certificate.")
    @_file("--xds-cert", "NARU_XDS_TLS_CERT", "What this node shows to the control plane.")
    @_file("--xds-key", "NARU_XDS_TLS_KEY", "The key of that certificate.")
    @click.option(
        "--xds-name",
        envvar="NARU_XDS_TLS_NAME",
        help="What the control plane's certificate is for.  [the host of --xds-address]",
    )
    @functools.wraps(command)
    def with_tls(
        *args: Any,
        xds_ca: Path | None,
        xds_cert: Path | None,
        xds_key: Path | None,
        xds_name: str | None,
        **rest: Any,
    ) -> Any:
        given = None
        if xds_ca and xds_cert and xds_key:
            given = TlsOptions(xds_ca.absolute(), xds_cert.absolute(), xds_key.absolute(), xds_name)
        elif xds_ca or xds_cert or xds_key:
            raise click.UsageError("--xds-ca, --xds-cert and --xds-key need each other.")
        return command(*args, xds_tls=given, **rest)

    decorated: Callable[..., Any] = with_tls
    return decorated


def _file(option: str, variable: str, text: str) -> Callable[..., Any]:
    kind = click.Path(path_type=Path, exists=True, dir_okay=False)
    decorated: Callable[..., Any] = click.option(
        option, envvar=variable, type=kind, help=f"{text} PEM."
    )
    return decorated


def _tls(given: TlsOptions, address: Address, data_dir: Path | None) -> XdsTls:
    """With a directory of its own an Envoy can watch for new certificates."""
    return XdsTls(
        cert=str(given.cert),
        key=str(given.key),
        ca=str(given.ca),
        name=given.name or address.host,
        sds_dir=None if data_dir is None else str(data_dir.absolute()),
    )


def envoy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a `BootstrapSettings` as `settings`, from options and `NARU_*` variables."""

    @click.option(
        "--xds-address",
        envvar="NARU_XDS_ADDRESS",
        type=AddressType(),
        default="127.0.0.1:10002",
        show_default=True,
        help="The control plane's xDS port.",
    )
    @click.option(
        "--admin-address",
        envvar="NARU_ENVOY_ADMIN_ADDRESS",
        type=AddressType(),
        default="127.0.0.1:10003",
        show_default=True,
        help="Envoy's admin page; loopback only.",
    )
    @click.option("--node-id", envvar="NARU_NODE_ID", default="gateway", show_default=True)
    @click.option(
        "--ext-proc-sockets",
        envvar="NARU_EXT_PROC_SOCKETS",
        default="",
        metavar="PATH,…",
        help="Unix sockets of the ext_proc workers beside this Envoy.",
    )
    @click.option(
        "--ext-proc-ids",
        envvar="NARU_EXT_PROC_IDS",
        default="",
        metavar="ID,…",
        help="Their node ids, in the same order.  [default: ext-proc-0,ext-proc-1,…]",
    )
    @click.option(
        "--max-heap-mib",
        envvar="NARU_ENVOY_MAX_HEAP_MIB",
        type=click.IntRange(min=64),
        default=DEFAULT_MAX_HEAP_MIB,
        show_default=True,
        help="Memory near which Envoy refuses new requests.",
    )
    @click.option(
        "--failover-socket",
        envvar="NARU_FAILOVER_SOCKET",
        default="",
        metavar="PATH",
        help="Unix socket of the `naru failover` beside this Envoy.",
    )
    @xds_tls_options
    @functools.wraps(command)
    def with_settings(
        *args: Any,
        xds_address: Address,
        admin_address: Address,
        node_id: str,
        ext_proc_sockets: str,
        ext_proc_ids: str,
        max_heap_mib: int,
        xds_tls: TlsOptions | None,
        failover_socket: str,
        **rest: Any,
    ) -> Any:
        if not admin_address.loopback:
            raise click.UsageError("Whoever reaches the admin page controls Envoy: loopback only.")
        sockets = tuple(filter(None, ext_proc_sockets.split(",")))
        ids = tuple(filter(None, ext_proc_ids.split(",")))
        if ids and len(ids) != len(sockets):
            raise click.UsageError("--ext-proc-ids needs one id for each socket.")
        settings = BootstrapSettings(
            xds_host=xds_address.host,
            xds_port=xds_address.port,
            ext_proc_sockets=sockets,
            ext_proc_ids=ids,
            admin_host=admin_address.host,
            admin_port=admin_address.port,
            node_id=node_id,
            max_heap_mib=max_heap_mib,
            xds_tls=xds_tls and _tls(xds_tls, xds_address, rest.get("data_dir")),
            failover_socket=failover_socket,
        )
        return command(*args, settings=settings, **rest)

    return with_settings
