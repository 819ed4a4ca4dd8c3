"""Where an upstream may point. Pure: names are not resolved here.

Refused are addresses that give away credentials (link-local, cloud metadata) or that are no
server's, and the gateway's own parts; the operator's lists come on top. Private networks and
loopback are allowed, for that is where models run. What a *name* resolves to is Envoy's business:
`control_plane.compile.address_guard` gives it the same rule.
Sources: the IANA special-purpose address registries (RFC 6890) and the clouds' own manuals.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from control_plane.resources._hosts import Ip, Place, ip_of
from control_plane.resources.errors import Problem
from control_plane.resources.upstream import Address, Upstream

__all__ = ["AddressPolicy", "Network", "Place", "Rule", "parse_rule"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Rule = Place | Network

_METADATA: Final = "is where a cloud serves metadata and credentials"
_LINK_LOCAL: Final = "is link-local, where clouds serve metadata and credentials"
_NO_SERVER: Final = "is no address of a server"
_HIDDEN: Final = "hides an IPv4 address; write that address itself"
_NEVER: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ipaddress.ip_network(network), why)
    for network, why in (
        ("169.254.0.0/16", _LINK_LOCAL),
        ("100.100.100.200/32", _METADATA),  # Alibaba Cloud
        ("168.63.129.16/32", _METADATA),  # Azure's wire server
        ("192.0.0.192/32", _METADATA),  # Oracle Cloud
        ("0.0.0.0/8", _NO_SERVER),
        ("224.0.0.0/3", _NO_SERVER),  # multicast, reserved, broadcast
        ("::/128", _NO_SERVER),
        ("fe80::/10", _LINK_LOCAL),
        ("ff00::/8", _NO_SERVER),
        ("fd00:ec2::/32", _METADATA),  # AWS
        ("fd20:ce::/32", _METADATA),  # Google Cloud
        ("::ffff:0:0/96", _HIDDEN),
        ("::ffff:0:0:0/96", _HIDDEN),
        ("64:ff9b:1::/48", _HIDDEN),
        ("2001::/32", _HIDDEN),  # Teredo
        ("2002::/16", _HIDDEN),  # 6to4
    )
)
_METADATA_NAMES: Final = frozenset({
    "metadata", "metadata.google.internal", "metadata.goog", "metadata.azure.internal",
    "metadata.azure.com", "instance-data", "instance-data.ec2.internal", "metadata.ec2.internal",
    "metadata.tencentyun.com", "metadata.packet.net", "metadata.platformequinix.com",
    "metadata.oraclecloud.com", "rancher-metadata",
})  # fmt: skip
_LOOPBACK_NAMES: Final = frozenset(
    {"localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"}
)
_LOOPBACK: Final[tuple[Network, ...]] = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def parse_rule(text: str) -> Rule:
    """`host`, `host:port` or `10.0.0.0/8`; raises ValueError."""
    return ipaddress.ip_network(text) if "/" in text else Place.parse(text)


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What an operator lets upstreams point at.

    Attributes:
        own: where the gateway's own parts listen, each with its port; a wildcard address stands for
            every address of the machine.
        allow: wins over everything else.
        deny: refused in addition.
        is_local: whether an address is one of this machine's; used for wildcards only.
    """

    own: tuple[Place, ...] = ()
    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    is_local: Callable[[str], bool] = field(default=lambda host: False, compare=False)

    def denied(self, address: Address) -> str | None:
        """Why an upstream may not point there; None if it may."""
        host, port = address.name, address.port
        if self._allows(host, port):
            return None
        reasons = (
            self._reason(meant, port) for meant in _meanings(host) if not self._allows(meant, port)
        )
        return next((why for why in reasons if why is not None), None)

    def problem(self, upstream: Upstream) -> Problem | None:
        """The same, with what to do about it."""
        address = upstream.spec.address
        why = self.denied(address)
        if why is None:
            return None
        place = f"[{address.name}]" if ":" in address.name else address.name
        mend = (
            "Use another address; if it is meant, the operator names "
            f"{place}:{address.port} in NARU_UPSTREAM_ALLOW"
        )
        return Problem("spec.url", f"{place}:{address.port} {why}", mend)

    def exempts(self, address: Address) -> bool:
        """Whether the operator allows this name whatever it resolves to."""
        return self._allows(address.name, address.port)

    def refused_answers(self, port: int) -> tuple[Network, ...]:
        """The addresses that a name may not resolve to, for an upstream at this port."""
        networks = {network for network, _ in _NEVER}
        networks.update(n for rule in self.deny for n in _networks(rule, port))
        networks.update(n for place in self.own if place.port == port for n in _owned(place))
        networks.update(_nat64(n) for n in tuple(networks) if n.version == 4)
        return _sorted(networks)

    def allowed_answers(self, port: int) -> tuple[Network, ...]:
        """Those that it may resolve to nevertheless."""
        return _sorted({n for rule in self.allow for n in _networks(rule, port)})

    def _allows(self, host: str, port: int) -> bool:
        return any(_covers(rule, host, port) for rule in self.allow)

    def _reason(self, host: str, port: int) -> str | None:
        if any(_covers(rule, host, port) for rule in self.deny):
            return "is refused by the operator (NARU_UPSTREAM_DENY)"
        if any(place.port == port and self._is_own(place, host) for place in self.own):
            return "is the gateway's own"
        if host in _METADATA_NAMES:
            return _METADATA
        found = ip_of(host)
        return None if found is None else next((why for n, why in _NEVER if found in n), None)

    def _is_own(self, place: Place, host: str) -> bool:
        found, bound = ip_of(host), ip_of(place.host)
        if found is None:
            return place.host == host
        wild = bound is not None and bound.is_unspecified
        return any(found in n for n in _owned(place)) or (wild and self.is_local(host))


def _covers(rule: Rule, host: str, port: int) -> bool:
    if isinstance(rule, Place):
        return rule.covers(host, port)
    found = ip_of(host)
    return found is not None and found in rule


def _meanings(host: str) -> Iterator[str]:
    """The host, and the addresses that it stands for without a resolver."""
    yield host
    if host in _LOOPBACK_NAMES or host.endswith(".localhost"):
        yield from ("127.0.0.1", "::1")
    found = ip_of(host)
    if isinstance(found, ipaddress.IPv6Address):
        yield from map(str, _embedded(found))


def _embedded(address: ipaddress.IPv6Address) -> Iterator[Ip]:
    if address in _NAT64 or 1 < int(address) < 1 << 32:  # or IPv4-compatible, RFC 4291
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _networks(rule: Rule, port: int) -> Iterator[Network]:
    if not isinstance(rule, Place):
        yield rule
    elif rule.port in (None, port) and ip_of(rule.host) is not None:
        yield ipaddress.ip_network(rule.host)


def _owned(place: Place) -> tuple[Network, ...]:
    """The addresses by which a listening address is reached, as far as it tells them itself."""
    bound = ip_of(place.host)
    if bound is None:
        return _LOOPBACK if place.host in _LOOPBACK_NAMES else ()
    if bound.is_loopback or bound.is_unspecified:
        return _LOOPBACK
    return (ipaddress.ip_network(bound),)


def _nat64(network: Network) -> Network:
    start = int(_NAT64.network_address) | int(network.network_address)
    return ipaddress.IPv6Network((start, 96 + network.prefixlen))


def _sorted(networks: set[Network]) -> tuple[Network, ...]:
    return tuple(sorted(networks, key=lambda n: (n.version, int(n.network_address), n.prefixlen)))
