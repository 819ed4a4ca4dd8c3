"""The rule for upstreams' addresses, held by Envoy over what a name resolves to.

An upstream filter of the cluster: it judges the server that was chosen, before there is a
connection to it, so of a request that is refused nothing goes out. Names that the operator allows
have none.
Source: Envoy's documentation of the upstream RBAC filter (`envoy.filters.http.upstream_rbac`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.rbac.v3 import rbac_pb2 as rules
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from envoy.extensions.rbac.matchers.upstream_ip_port.v3.upstream_ip_port_matcher_pb2 import (
    UpstreamIpPortMatcher,
)
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.compile._proto import extension, pack
from control_plane.resources.addresses import AddressPolicy, Network
from control_plane.resources.upstream import Address

ADDRESS_POLICY: Final = "upstream_address"
"""Its name, which Envoy puts into the details of a refusal."""


def address_guard(address: Address, policy: AddressPolicy) -> Iterator[HttpFilter]:
    """The filter of a cluster whose server is found by name; none if the name is allowed."""
    if not policy.exempts(address):
        yield _guard(policy, address.port)


@lru_cache(maxsize=256)
def _guard(policy: AddressPolicy, port: int) -> HttpFilter:
    permission = _within(policy.refused_answers(port))
    allowed = policy.allowed_answers(port)
    if allowed:
        elsewhere = rules.Permission(not_rule=_within(allowed))
        both = rules.Permission.Set(rules=[permission, elsewhere])
        permission = rules.Permission(and_rules=both)
    refusing = rules.Policy(permissions=[permission], principals=[rules.Principal(any=True)])
    guard = RBAC(rules=rules.RBAC(action=rules.RBAC.DENY, policies={ADDRESS_POLICY: refusing}))
    return HttpFilter(name="envoy.filters.http.upstream_rbac", typed_config=pack(guard))


def _within(networks: Iterable[Network]) -> rules.Permission:
    return rules.Permission(or_rules=rules.Permission.Set(rules=list(map(_one, networks))))


def _one(network: Network) -> rules.Permission:
    length = UInt32Value(value=network.prefixlen)
    cidr = CidrRange(address_prefix=str(network.network_address), prefix_len=length)
    matcher = UpstreamIpPortMatcher(upstream_ip=cidr)
    return rules.Permission(matcher=extension("envoy.rbac.matchers.upstream_ip_port", matcher))
