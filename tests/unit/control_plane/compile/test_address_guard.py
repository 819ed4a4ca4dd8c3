"""`address_guard`: names are judged by Envoy, addresses by us, and neither is missed."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.rbac.v3.rbac_pb2 import Permission
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.rbac.matchers.upstream_ip_port.v3.upstream_ip_port_matcher_pb2 import (
    UpstreamIpPortMatcher,
)
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from control_plane.compile import CLUSTER, SECRET, Compiled, Compiler, GatewaySettings
from control_plane.compile.address_guard import ADDRESS_POLICY
from control_plane.resources import Key, parse
from control_plane.resources.addresses import AddressPolicy, Place, parse_rule
from tests.support import api

GUARD = "envoy.filters.http.upstream_rbac"
INJECTOR = "envoy.filters.http.credential_injector"
CODEC = "envoy.filters.http.upstream_codec"


def compiled(*documents: dict[str, Any], policy: AddressPolicy | None = None) -> Compiled:
    resources = {resource.key: resource for resource in map(parse, documents)}
    settings = GatewaySettings(addresses=policy or AddressPolicy())
    return Compiler(settings).compile(1, resources)


def upstream(url: str, name: str = "u", credential: str | None = None) -> dict[str, Any]:
    made = api.upstream(name, credential)
    made["spec"]["url"] = url
    return made


def filters(result: Compiled) -> list[list[str]]:
    return [[f.name for f in options.http_filters] for options in _options(result)]


def _options(result: Compiled) -> list[HttpProtocolOptions]:
    found = []
    for resource in result.resources[CLUSTER].values():
        options = HttpProtocolOptions()
        (packed,) = Cluster.FromString(resource.body).typed_extension_protocol_options.values()
        assert packed.Unpack(options)
        found.append(options)
    return found


def permission(result: Compiled) -> Permission:
    guard = RBAC()
    assert _options(result)[0].http_filters[0].typed_config.Unpack(guard)
    (found,) = guard.rules.policies[ADDRESS_POLICY].permissions
    return found


def networks(found: Permission) -> set[str]:
    matchers = [UpstreamIpPortMatcher() for _ in found.or_rules.rules]
    for rule, matcher in zip(found.or_rules.rules, matchers, strict=True):
        assert rule.matcher.typed_config.Unpack(matcher)
    ips = [matcher.upstream_ip for matcher in matchers]
    return {f"{ip.address_prefix}/{ip.prefix_len.value}" for ip in ips}


@pytest.mark.parametrize("url", ["http://a.example", "https://a.example/v1", "http://localhost:9"])
def test_a_name_is_guarded(url: str) -> None:
    assert filters(compiled(upstream(url))) == [[GUARD, CODEC]]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "https://[::1]:9000"])
def test_an_address_needs_no_guard(url: str) -> None:
    assert filters(compiled(upstream(url))) == [[]]


def test_the_guard_comes_before_the_credential() -> None:
    documents = (upstream("https://api.openai.com", credential="key"), api.credential())
    result = compiled(*documents, api.proxy(to="u"))
    assert sorted(filters(result)) == [[GUARD, INJECTOR, CODEC], [GUARD, CODEC]]


def test_what_is_refused() -> None:
    policy = AddressPolicy((Place("127.0.0.1", 10001),), deny=(parse_rule("10.0.0.0/8"),))
    found = networks(permission(compiled(upstream("http://a.example:10001"), policy=policy)))
    assert {"169.254.0.0/16", "fe80::/10", "127.0.0.0/8", "::1/128", "10.0.0.0/8"} <= found
    found = networks(permission(compiled(upstream("http://a.example"), policy=policy)))
    assert "127.0.0.0/8" not in found


def test_what_the_operator_allows() -> None:
    policy = AddressPolicy(allow=(parse_rule("169.254.0.0/16"), parse_rule("b.example")))
    both = permission(compiled(upstream("http://a.example"), policy=policy)).and_rules.rules
    assert "fe80::/10" in networks(both[0])
    assert networks(both[1].not_rule) == {"169.254.0.0/16"}
    assert filters(compiled(upstream("http://b.example"), policy=policy)) == [[]]


def test_a_stored_upstream_that_is_denied_now_is_set_aside_and_hurts_nobody_else() -> None:
    documents = (
        upstream("http://169.254.169.254", "imds"),
        api.proxy("thief", to="imds"),
        upstream("http://127.0.0.1:9000", "good"),
        api.proxy("good", to="good"),
    )
    result = compiled(*documents)
    assert result.aside.keys() == {Key("upstreams", "imds"), Key("proxies", "thief")}
    assert "NARU_UPSTREAM_ALLOW" in result.aside[Key("upstreams", "imds")].reason
    assert [name.partition("#")[0] for name in result.resources[CLUSTER]] == ["good"]
    allowed = AddressPolicy(allow=(parse_rule("169.254.169.254"),))
    assert not compiled(*documents, policy=allowed).aside


def test_a_stored_credential_without_hosts_is_sent_to_nobody() -> None:
    documents = (
        api.credential(allowedHosts=[]),
        upstream("https://api.openai.com", credential="key"),
        api.proxy(to="u"),
    )
    result = compiled(*documents)
    assert not result.resources[SECRET]
    assert "allowedHosts" in result.aside[Key("proxies", "menu-copy")].reason
