"""How hosts are written: one text for each, so that two of them can be compared.

An IPv4 address is four decimal numbers and nothing else, for what reads `2130706433`, `0x7f.1` or
`127.1` as an address would find another host than we do. Names are taken as they are: none is
resolved here. Sources: RFC 1123, RFC 5952, https://url.spec.whatwg.org/#ends-in-a-number-checker
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_NEAR: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8", "::1/128",
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
        "fc00::/7",  # RFC 4193
    )
)  # fmt: skip
_PLACE: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?", re.ASCII
)


def ip_of(host: str) -> Ip | None:
    """The address that a host is; None for a name."""
    try:
        return None if "%" in host else ipaddress.ip_address(host)
    except ValueError:
        return None


def canonical(host: str) -> str:
    """The one way to write a host: lower case, without a last dot, IPv6 compressed, no brackets.

    Raises:
        ValueError: it is neither a name nor an address.
    """
    found = ip_of(host)
    if found is not None:
        return str(found)
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        raise ValueError("an IPv4 address must be four decimal numbers, such as 127.0.0.1")
    if len(name) > 253 or not all(_NAME.fullmatch(label) for label in labels):
        raise ValueError("not a host name: letters, digits, '-' and '_', in parts of at most 63")
    return name


def is_near(host: str) -> bool:
    """Whether a canonical host is this machine, or an address in a private network.

    Of names only `localhost`: where others lead is the resolver's to say, not ours.
    """
    found = ip_of(host)
    return host == "localhost" if found is None else any(found in network for network in _NEAR)


class Place(NamedTuple):
    """A host, at one port or (None) at every port."""

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Place:
        """`api.openai.com`, `127.0.0.1:9000`, `::1` or `[::1]:9000`; raises ValueError."""
        if isinstance(found := ip_of(text), ipaddress.IPv6Address):
            return cls(str(found), None)
        match = _PLACE.fullmatch(text)
        if match is None or (match["six"] and ":" not in match["six"]):
            raise ValueError("not a host or host:port")
        port = None if match["port"] is None else int(match["port"])
        if port is not None and not 0 < port < 65536:
            raise ValueError("a port must be between 1 and 65535")
        return cls(canonical(match["six"] or match["host"]), port)

    def covers(self, host: str, port: int) -> bool:
        """Whether a canonical host, at this port, is here."""
        return self.host == host and self.port in (None, port)
