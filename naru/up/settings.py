"""What `naru up` is asked to do: its options and `NARU_*` variables, read once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from naru.bootstrap import DEFAULT_MAX_HEAP_MIB
from naru.up.addresses import Address
from naru.up.errors import UpError

DEFAULTS: Mapping[str, str] = {
    "gateway": "127.0.0.1:10000",
    "api": "127.0.0.1:10001",
    "xds": "127.0.0.1:10002",
    "envoy_admin": "127.0.0.1:10003",
    "etcd": "127.0.0.1:2379",
    "etcd_peer": "127.0.0.1:2380",
}
TRANSPORTS = ("native", "grpcio")
"""Of the workers, the usual one first."""
DEMO_MODEL = "127.0.0.1:10010"
"""Where `--demo` serves its model, `menu_writer`."""

_LOOPBACK_ONLY = {
    "envoy_admin": "whoever reaches Envoy's admin page controls Envoy",
    "etcd": "this etcd has no passwords",
    "etcd_peer": "this etcd has no peers",
}


@dataclass(frozen=True, slots=True)
class UpSettings:
    """What `naru up` runs.

    Attributes:
        workers: of ext_proc. One for every two cores: a request that a worker handles costs Envoy
            one to two and a half times as much as the worker, and fewer workers have more to do
            each time they wake.
        envoy_threads: one for each core.
        drain: seconds that a graceful stop waits for requests that are under way.
        system_ca: the file of certificates that upstreams are checked with; empty: this machine's.
        own: addresses of the gateway's own, beside those of the parts, that no upstream may have.
    """

    data_dir: Path
    wanted: Mapping[str, Address]
    demo: bool = False
    open: bool = False
    workers: int = 1
    envoy_threads: int = 1
    transport: str = "native"
    drain: float = 20.0
    node_id: str = "gateway"
    envoy_max_heap_mib: int = DEFAULT_MAX_HEAP_MIB
    kek_file: Path | None = None
    admin_token_file: Path | None = None
    kek: str = field(default="", repr=False)
    own: str = ""
    system_ca: str = ""


def read_settings(
    environment: Mapping[str, str],
    *,
    data_dir: Path | None = None,
    demo: bool = False,
    open_: bool = False,
) -> UpSettings:
    """The settings that options and environment give.

    Raises:
        UpError: a value cannot be used; the message says which and why.
    """
    wanted = {name: _address(environment, name, default) for name, default in DEFAULTS.items()}
    if demo:
        wanted["menu_writer"] = _address(environment, "menu_writer", DEMO_MODEL)
    _check_reach(wanted, open_=open_)
    return UpSettings(
        data_dir=(data_dir or Path(environment.get("NARU_DATA_DIR") or ".naru")).absolute(),
        wanted=wanted,
        demo=demo,
        open=open_,
        workers=_count(environment, "NARU_WORKERS", max(1, _cores() // 2)),
        envoy_threads=_count(environment, "NARU_ENVOY_THREADS", _cores()),
        transport=_transport(environment),
        drain=float(_count(environment, "NARU_ENVOY_DRAIN_SECONDS", 20)),
        node_id=environment.get("NARU_NODE_ID", "gateway"),
        envoy_max_heap_mib=_count(
            environment, "NARU_ENVOY_MAX_HEAP_MIB", DEFAULT_MAX_HEAP_MIB, 64, 1 << 20
        ),
        kek_file=_path(environment, "NARU_KEK_FILE"),
        admin_token_file=_path(environment, "NARU_ADMIN_TOKEN_FILE"),
        kek=environment.get("NARU_KEK", ""),
        own=environment.get("NARU_OWN_ADDRESSES", ""),
        system_ca=environment.get("NARU_SYSTEM_CA", ""),
    )


def _address(environment: Mapping[str, str], name: str, default: str) -> Address:
    if name == "etcd":
        return _etcd(environment, default)
    asked = environment.get(f"NARU_{name.upper()}_ADDRESS")
    return Address.parse(asked, explicit=True) if asked else Address.parse(default)


def _etcd(environment: Mapping[str, str], default: str) -> Address:
    asked = environment.get("NARU_ETCD_ENDPOINTS")
    if not asked:
        return Address.parse(default)
    if "," in asked:
        raise UpError(
            "`naru up` runs one etcd of its own, but NARU_ETCD_ENDPOINTS names several. "
            "To use an existing cluster, start `naru control-plane` instead."
        )
    return Address.parse(asked.removeprefix("http://"), explicit=True)


def _check_reach(wanted: Mapping[str, Address], *, open_: bool) -> None:
    for name, reason in _LOOPBACK_ONLY.items():
        if not wanted[name].loopback:
            raise UpError(f"{name} must listen on loopback, not on {wanted[name]}: {reason}.")
    if open_ and not wanted["gateway"].loopback:
        raise UpError(
            f"--open lets anybody call without a key, so it needs a gateway on loopback, "
            f"not on {wanted['gateway']}."
        )


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    """A file that must be there: only files in the data directory are made."""
    text = environment.get(name)
    if text and not Path(text).is_file():
        raise UpError(f"{name} names {text}, which is not a file.")
    return Path(text) if text else None


def _transport(environment: Mapping[str, str]) -> str:
    asked = environment.get("NARU_TRANSPORT") or TRANSPORTS[0]
    if asked not in TRANSPORTS:
        raise UpError(f"NARU_TRANSPORT must be {' or '.join(TRANSPORTS)}, not {asked!r}.")
    return asked


def _count(
    environment: Mapping[str, str], name: str, default: int, least: int = 1, most: int = 3600
) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UpError(f"{name} must be a whole number from {least} to {most}, not {text!r}.")
    return int(text)


def _cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0))
