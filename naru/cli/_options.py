"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

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
    @functools.wraps(command)
    def with_settings(
        *args: Any,
        xds_address: Address,
        admin_address: Address,
        node_id: str,
        ext_proc_sockets: str,
        ext_proc_ids: str,
        max_heap_mib: int,
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
            failover_socket=failover_socket,
        )
        return command(*args, settings=settings, **rest)

    return with_settings
