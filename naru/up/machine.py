"""What the control plane must know of this machine: its addresses, and whom it trusts.

Read from Linux's /proc (proc(5)); where it is not there, nothing is known.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from naru.up.addresses import Address

_LOCAL = re.compile(r"\|-- (\S+)\n\s*/32 host LOCAL")
_CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",
)


def own_addresses(at: Mapping[str, Address], proc: Path = Path("/proc")) -> tuple[Address, ...]:
    """Where the parts are reached that the control plane has no setting for.

    A part that listens on every address is reached by each that this machine has.
    """
    found = [at["etcd_peer"]]
    wild = [address for address in at.values() if address.local != address]
    if wild:
        found += [replace(part, host=host) for host in local_hosts(proc) for part in wild]
    return tuple(found)


def local_hosts(proc: Path = Path("/proc")) -> tuple[str, ...]:
    """The addresses of this machine."""
    hosts = set(_LOCAL.findall(_text(proc / "net/fib_trie")))
    hosts |= {_ipv6(line[:32]) for line in _text(proc / "net/if_inet6").splitlines()}
    return tuple(sorted(hosts))


def system_ca(files: Iterable[str] = _CA_FILES) -> str | None:
    """The file of the certificates that this machine trusts."""
    return next((file for file in files if Path(file).is_file()), None)


def _ipv6(digits: str) -> str:
    return str(ipaddress.IPv6Address(bytes.fromhex(digits)))


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text("ascii")
    return ""
