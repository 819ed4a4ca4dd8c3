"""The control plane's settings, read once from `NARU_*` variables. Nothing is read at import."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from control_plane._tls import TlsFiles
from control_plane.compile import GatewaySettings
from control_plane.resources._hosts import canonical
from control_plane.resources.addresses import AddressPolicy, Place, parse_rule
from control_plane.store import EtcdAccess, Policy

T = TypeVar("T")
MIB: Final = 1024 * 1024
_ADDRESS = re.compile(
    r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})", re.ASCII
)


class SettingsError(Exception):
    """Variables that cannot be used, all of them; each line names one and says what to write."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Address(NamedTuple):
    """Where to listen; `host` is without the brackets of IPv6; port 0 means any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_API: Final = Address("127.0.0.1", 10001)
_XDS: Final = Address("127.0.0.1", 10002)
_XDS_TLS: Final = ("NARU_XDS_TLS_CERT", "NARU_XDS_TLS_KEY", "NARU_XDS_TLS_CLIENT_CA")
_ADMIN: Final = Address("127.0.0.1", 10003)


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """What one request to the API may take.

    Attributes:
        max_documents: documents of one apply.
        max_apply_bytes: body of one apply.
        max_document_bytes: body of every other request.
    """

    max_documents: int = 5_000
    max_apply_bytes: int = 24 * MIB
    max_document_bytes: int = MIB


@dataclass(frozen=True, slots=True)
class EtcdSettings:
    """The etcd cluster.

    Attributes:
        endpoints: each `host:port`.
        max_operations: what the cluster was started with as `--max-txn-ops`.
        access: TLS and the user, if it has them.
        max_bytes: what it was started with as `--max-request-bytes`.
        patience: seconds that it gets at start, before what was read last is served.
        policy: its quota, and how much history it keeps.
    """

    endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    max_operations: int = 10_240
    max_bytes: int = 32 * MIB
    access: EtcdAccess = field(default_factory=EtcdAccess)
    patience: float = 3.0
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Settings:
    """All that `control_plane.main.serve` needs.

    Attributes:
        kek: the key-encryption key in base64; wins over `kek_file`.
        xds_tls: what the xDS port shows and wants; None: plain text, which only loopback may be.
        drain: seconds that calls under way get when the process stops.
        envoy: an Envoy to ask offline who is at fault, where a node refuses and names nobody.
    """

    data_dir: Path
    kek_file: Path
    admin_token_file: Path
    api: Address = _API
    xds: Address = _XDS
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    etcd: EtcdSettings = field(default_factory=EtcdSettings)
    kek: str | None = field(default=None, repr=False)
    limits: ApiLimits = field(default_factory=ApiLimits)
    drain: float = 5.0
    envoy: Path | None = None
    xds_tls: TlsFiles | None = None

    @property
    def addresses(self) -> AddressPolicy:
        """Where upstreams may point."""
        return self.gateway.addresses

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """The settings that the variables describe; raises SettingsError with every problem."""
        read = _Reader(environ)
        data_dir = read.get("NARU_DATA_DIR", _path, Path(".naru"))
        api = read.get("NARU_API_ADDRESS", _address, _API)
        xds = read.get("NARU_XDS_ADDRESS", _address, _XDS)
        etcd = _etcd(read)
        settings = cls(
            data_dir=data_dir,
            kek_file=read.get("NARU_KEK_FILE", _path, data_dir / "kek"),
            admin_token_file=read.get("NARU_ADMIN_TOKEN_FILE", _path, data_dir / "admin-token"),
            api=api,
            xds=xds,
            gateway=_gateway(read, (api, xds), etcd.endpoints),
            etcd=etcd,
            kek=read.get("NARU_KEK", str, None),
            limits=_limits(read),
            drain=read.get("NARU_DRAIN_SECONDS", _seconds, 5.0),
            envoy=read.get("NARU_ENVOY_BINARY", _program, None),
            xds_tls=_xds_tls(read),
        )
        if settings.xds_tls is None and not _is_loopback(settings.xds.host):
            read.refuse(
                f"NARU_XDS_ADDRESS: {settings.xds} is not loopback, and xDS carries secrets: set "
                f"{', '.join(_XDS_TLS)} (clients then need a certificate of that CA), or listen on "
                "loopback"
            )
        read.finish()
        return settings


class _Reader:
    """Reads variables one by one; an empty one counts as not set. Collects what is wrong."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: list[str] = []

    def get(self, name: str, convert: Callable[[str], T], default: T) -> T:
        text = self._environ.get(name, "").strip()
        if not text:
            return default
        try:
            return convert(text)
        except ValueError as error:
            self._problems.append(f"{name}: {error}")
            return default

    def refuse(self, problem: str) -> None:
        self._problems.append(problem)

    def finish(self) -> None:
        if self._problems:
            raise SettingsError(tuple(self._problems))


def _xds_tls(read: _Reader) -> TlsFiles | None:
    files = [read.get(name, _path, None) for name in _XDS_TLS]
    cert, key, ca = files
    if cert is not None and key is not None and ca is not None:
        return TlsFiles(cert, key, ca)
    for name, path in zip(_XDS_TLS, files, strict=True):
        if path is None and any(files):
            read.refuse(f"{name}: is not set; mTLS needs all of {', '.join(_XDS_TLS)}")
    return None


def _is_loopback(host: str) -> bool:
    """Whether only this machine can reach it; a name is what it resolves to, if it does."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
        return bool(found) and all(ipaddress.ip_address(ip).is_loopback for ip in found)
    except (OSError, ValueError):
        return host == "localhost"


def _gateway(
    read: _Reader, own: tuple[Address, ...], endpoints: tuple[str, ...]
) -> GatewaySettings:
    default = GatewaySettings()
    address = read.get("NARU_GATEWAY_ADDRESS", _fixed_address, Address(default.host, default.port))
    admin = read.get("NARU_ENVOY_ADMIN_ADDRESS", _address, _ADMIN)
    places = [_place(str(each)) for each in (*own, address, admin) if each.port]
    places += [_place(_without_scheme(endpoint)) for endpoint in endpoints]
    none: tuple[Place, ...] = ()
    return GatewaySettings(
        host=address.host,
        port=address.port,
        addresses=AddressPolicy(
            own=(*places, *read.get("NARU_OWN_ADDRESSES", _several(_place), none)),
            allow=read.get("NARU_UPSTREAM_ALLOW", _several(parse_rule), ()),
            deny=read.get("NARU_UPSTREAM_DENY", _several(parse_rule), ()),
        ),
        system_ca=read.get("NARU_SYSTEM_CA", str, default.system_ca),
    )


def _etcd(read: _Reader) -> EtcdSettings:
    default = EtcdSettings()
    endpoints = read.get("NARU_ETCD_ENDPOINTS", _endpoints, default.endpoints)
    return EtcdSettings(
        endpoints=endpoints,
        access=_etcd_access(read, endpoints),
        max_operations=read.get("NARU_ETCD_MAX_TXN_OPS", _count(2), default.max_operations),
        max_bytes=read.get("NARU_ETCD_MAX_REQUEST_BYTES", _count(65_536), default.max_bytes),
        patience=read.get("NARU_ETCD_PATIENCE_SECONDS", _seconds, default.patience),
        policy=_policy(read),
    )


def _policy(read: _Reader) -> Policy:
    default = Policy()
    kept = round(default.keep_seconds)
    return Policy(
        quota=read.get("NARU_ETCD_QUOTA_BYTES", _count(MIB), default.quota),
        keep_seconds=read.get("NARU_ETCD_KEEP_SECONDS", _count(1), kept),
        keep_revisions=read.get("NARU_ETCD_KEEP_REVISIONS", _count(1), default.keep_revisions),
    )


def _etcd_access(read: _Reader, endpoints: tuple[str, ...]) -> EtcdAccess:
    names = ("CA", "CERT", "KEY", "PASSWORD_FILE")
    ca, cert, key, password = (read.get(f"NARU_ETCD_{name}", _path, None) for name in names)
    user = read.get("NARU_ETCD_USER", str, None)
    secure = any(endpoint.startswith("https://") for endpoint in endpoints)
    tls = secure or ca is not None or cert is not None
    if (cert is None) != (key is None):
        read.refuse("NARU_ETCD_CERT and NARU_ETCD_KEY need each other")
    if (user is None) != (password is None):
        read.refuse("NARU_ETCD_USER and NARU_ETCD_PASSWORD_FILE need each other")
    if tls and any(endpoint.startswith("http://") for endpoint in endpoints):
        read.refuse("NARU_ETCD_ENDPOINTS: with TLS no endpoint begins with http://")
    if user is not None and not tls and not all(map(_is_local, endpoints)):
        read.refuse(
            "NARU_ETCD_USER: its password would be sent in plain text: set NARU_ETCD_CA, and "
            "https:// in NARU_ETCD_ENDPOINTS"
        )
    return EtcdAccess(tls, ca, cert, key, user, password)


def _is_local(endpoint: str) -> bool:
    return _is_loopback(endpoint.removeprefix("http://").rpartition(":")[0].strip("[]"))


def _limits(read: _Reader) -> ApiLimits:
    default = ApiLimits()
    return ApiLimits(
        max_documents=read.get("NARU_APPLY_MAX_DOCUMENTS", _count(1), default.max_documents),
        max_apply_bytes=read.get("NARU_APPLY_MAX_BYTES", _count(1024), default.max_apply_bytes),
        max_document_bytes=default.max_document_bytes,
    )


def _address(text: str) -> Address:
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError('write host:port, such as "127.0.0.1:10001" or "[::1]:10001"')
    host = match["host"].strip("[]")
    canonical(host)
    return Address(host, int(match["port"]))


def _fixed_address(text: str) -> Address:
    address = _address(text)
    if address.port == 0:
        raise ValueError("the port cannot be 0, for Envoy is told the address beforehand")
    return address


def _endpoints(text: str) -> tuple[str, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    bare = [_without_scheme(part) for part in parts]
    if not bare or any(_ADDRESS.fullmatch(part) is None for part in bare):
        raise ValueError('write host:port, several with commas, such as "etcd-0:2379,etcd-1:2379"')
    for part in bare:
        _place(part)
    return tuple(parts)


def _without_scheme(endpoint: str) -> str:
    return endpoint.removeprefix("http://").removeprefix("https://").rstrip("/")


def _place(text: str) -> Place:
    place = Place.parse(text)
    if place.port is None:
        raise ValueError("write host:port")
    return place


def _several(convert: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    def convert_all(text: str) -> tuple[T, ...]:
        parts = [part.strip() for part in text.split(",")]
        return tuple(_named(convert, part) for part in parts if part)

    return convert_all


def _named(convert: Callable[[str], T], text: str) -> T:
    try:
        return convert(text)
    except ValueError as error:
        raise ValueError(f"{text!r} cannot be used: {error}") from None


def _path(text: str) -> Path:
    if "\0" in text:
        raise ValueError("not a path")
    return Path(text).expanduser()


def _program(text: str) -> Path:
    if not os.access(text, os.X_OK):
        raise ValueError("not a program that this user may run")
    return Path(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,4}(\.\d{1,3})?", text, re.ASCII):
        raise ValueError("write a number of seconds, such as 5")
    return float(text)


def _count(least: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or int(text) < least:
            raise ValueError(f"write a whole number of {least} or more")
        return int(text)

    return convert
