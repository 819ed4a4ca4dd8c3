"""The bootstrap with which any Envoy joins: `envoy/bootstrap.yaml`, filled in. Pure.

Only static configuration: listeners, routes, clusters and secrets come from the control plane.
"""

from __future__ import annotations

import importlib.resources
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

_PLACE = re.compile(r"\$\{([A-Z_]+)\}")
_REPEATED = "EXT_PROC_SOCKET"
_BESIDE = "EXT_PROC_ID"
DEFAULT_MAX_HEAP_MIB = 2048

Values = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class BootstrapSettings:
    """Who this Envoy is, and whom it talks to.

    `xds_host` may be a name; `ext_proc_sockets` are absolute paths of Unix sockets of this machine,
    `ext_proc_ids` the node ids of the workers behind them (`ext-proc-0` and so on, if not given);
    `max_heap_mib` is the memory near which Envoy refuses new requests; `failover_socket` is where a
    `naru failover` listens, if there is one.
    """

    xds_host: str = "127.0.0.1"
    xds_port: int = 10002
    ext_proc_sockets: Sequence[str] = ()
    admin_host: str = "127.0.0.1"
    admin_port: int = 10003
    node_id: str = "gateway"
    node_cluster: str = "gateway"
    max_heap_mib: int = DEFAULT_MAX_HEAP_MIB
    failover_socket: str = ""
    ext_proc_ids: Sequence[str] = ()


def bootstrap(settings: BootstrapSettings, template: str | None = None) -> dict[str, Any]:
    """The bootstrap document, ready for `json.dumps` or `yaml.safe_dump`."""
    document = yaml.safe_load(read_template() if template is None else template)
    if settings.failover_socket:
        document = _add(document, yaml.safe_load(read_template("failover.yaml")))
    filled = _fill(document, _values(settings), _workers(settings))
    if not isinstance(filled, dict):
        raise ValueError("the bootstrap template is not a mapping")
    return filled


def read_template(name: str = "bootstrap.yaml") -> str:
    """A file of `envoy/` in the repository; `naru/_data` links to that folder."""
    return (importlib.resources.files("naru") / "_data" / name).read_text("utf-8")


def _values(settings: BootstrapSettings) -> Values:
    return {
        "NODE_ID": settings.node_id,
        "NODE_CLUSTER": settings.node_cluster,
        "ADMIN_HOST": settings.admin_host,
        "ADMIN_PORT": settings.admin_port,
        "MAX_HEAP_BYTES": settings.max_heap_mib * 1024 * 1024,
        "FAILOVER_SOCKET": settings.failover_socket,
        "XDS_HOST": settings.xds_host,
        "XDS_PORT": settings.xds_port,
        "XDS_DISCOVERY": "STATIC" if _is_ip(settings.xds_host) else "STRICT_DNS",
    }


def _add(node: Any, more: Any) -> Any:
    """`node` with the keys and items of `more` added to it."""
    if isinstance(node, dict) and isinstance(more, dict):
        return node | {key: _add(node.get(key), value) for key, value in more.items()}
    return [*node, *more] if isinstance(node, list) else more


def _workers(settings: BootstrapSettings) -> tuple[Values, ...]:
    """What is different for each worker."""
    sockets, ids = settings.ext_proc_sockets, settings.ext_proc_ids
    named = ids or [f"ext-proc-{index}" for index in range(len(sockets))]
    each = zip(sockets, named, strict=True)
    return tuple({_REPEATED: path, _BESIDE: name} for path, name in each)


def _fill(node: Any, values: Values, workers: Sequence[Values]) -> Any:
    if isinstance(node, dict):
        return {key: _fill(value, values, workers) for key, value in node.items()}
    if isinstance(node, list):
        return [filled for item in node for filled in _fill_item(item, values, workers)]
    return _fill_scalar(node, values) if isinstance(node, str) else node


def _fill_item(item: Any, values: Values, workers: Sequence[Values]) -> list[Any]:
    """One list item; the innermost one that names the socket, once for each worker."""
    if not _is_innermost(item):
        return [_fill(item, values, workers)]
    return [_fill(item, {**values, **worker}, workers) for worker in workers]


def _is_innermost(item: Any) -> bool:
    return _names_socket(item) and not any(_names_socket(inner) for inner in _lists_in(item))


def _lists_in(node: Any) -> list[list[Any]]:
    if isinstance(node, dict):
        return [found for value in node.values() for found in _lists_in(value)]
    return [node] if isinstance(node, list) else []


def _names_socket(node: Any) -> bool:
    if isinstance(node, dict):
        return any(_names_socket(value) for value in node.values())
    if isinstance(node, list):
        return any(_names_socket(value) for value in node)
    return isinstance(node, str) and "${" + _REPEATED + "}" in node


def _fill_scalar(text: str, values: Values) -> str | int:
    """A scalar that is nothing but a place takes the value's own type (ports are numbers)."""
    if whole := _PLACE.fullmatch(text):
        return values[whole[1]]
    return _PLACE.sub(lambda place: str(values[place[1]]), text)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
