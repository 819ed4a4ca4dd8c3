"""What must hold between resources."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.resources import Key, Resource, check_graph, parse


def make(kind: str, name: str, spec: dict[str, Any], **more: Any) -> Resource:
    metadata = {"name": name, **more}
    return parse({"apiVersion": "naru/v1", "kind": kind, "metadata": metadata, "spec": spec})


def graph(*resources: Resource) -> dict[Key, Resource]:
    return {resource.key: resource for resource in resources}


KEY = make(
    "Credential", "key", {"type": "bearer", "secret": "s", "allowedHosts": ["api.openai.com"]}
)
OPENAI = make(
    "Upstream",
    "openai",
    {"dialect": "openai", "url": "https://api.openai.com/v1", "credential": "key"},
)
EVIL = make("Upstream", "evil", {"dialect": "openai", "url": "https://evil.example/v1"})
TEMPLATE = make("Template", "copy", {"messages": [{"role": "user", "content": "hi"}]})
PROXY = make("Proxy", "copy", {"upstreams": [{"name": "openai"}], "template": "copy@latest"})


def test_a_whole_graph_has_no_problem() -> None:
    assert check_graph(graph(KEY, OPENAI, TEMPLATE, PROXY)) == ()


def test_each_dangling_reference_is_named() -> None:
    problems = check_graph(graph(PROXY))
    assert [p.field for p in problems] == ["proxies/copy", "proxies/copy"]
    assert "templates/copy" in problems[0].message
    assert "upstreams/openai" in problems[1].message


def test_a_credential_goes_to_its_hosts_only() -> None:
    thief = make("Proxy", "thief", {"upstreams": [{"name": "evil", "credential": "key"}]})
    (problem,) = check_graph(graph(KEY, EVIL, thief))
    assert problem.field == "proxies/thief"
    assert "evil.example" in problem.message


def test_the_same_holds_for_the_upstreams_own_credential() -> None:
    moved = make(
        "Upstream",
        "openai",
        {"dialect": "openai", "url": "http://evil.example", "credential": "key"},
    )
    (problem,) = check_graph(graph(KEY, moved))
    assert problem.field == "upstreams/openai"


def test_a_secret_in_the_clear_needs_the_port_that_the_error_says() -> None:
    for url, place in (
        ("http://API.openai.com./v1", "api.openai.com:80"),
        ("http://api.openai.com:8080/v1", "api.openai.com:8080"),
    ):
        plain = make("Upstream", "openai", {"dialect": "openai", "url": url, "credential": "key"})
        (problem,) = check_graph(graph(KEY, plain))
        assert "in the clear" in problem.message
        assert f'"{place}"' in problem.mend
        spec = {"type": "bearer", "secret": "s", "allowedHosts": [place]}
        assert check_graph(graph(make("Credential", "key", spec), plain)) == ()


SHARED = {"team": "platform", "sharedWith": ["*"]}
PEM = "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("key", "upstream", "proxy", "tls", "refused"),
    [
        (SHARED, {"team": "menu"}, {"team": "menu"}, {}, False),
        (SHARED, {"team": "menu"}, {"team": "menu"}, {"ca": PEM}, True),
        (SHARED, {"team": "menu"}, {"team": "menu"}, {"serverName": "evil.example"}, True),
        (SHARED, SHARED, {"team": "menu"}, {"ca": PEM, "serverName": "a.example"}, False),
        # The owner of the upstream could name another server later on.
        (SHARED, {"team": "menu", "sharedWith": ["*"]}, {"team": "platform"}, {"ca": PEM}, True),
        ({"team": "menu"}, {"team": "menu"}, {"team": "menu"}, {"ca": PEM}, False),
    ],
)
def test_a_credential_goes_to_no_server_that_another_team_vouches_for(
    key: dict[str, Any],
    upstream: dict[str, Any],
    proxy: dict[str, Any],
    tls: dict[str, str],
    refused: bool,
) -> None:
    """Neither as the upstream's own credential, nor as the one that a proxy chooses."""
    held = {"type": "bearer", "secret": "s", "allowedHosts": ["api.openai.com"]}
    found = make("Credential", "key", held, **key)
    spec = {"dialect": "openai", "url": "https://api.openai.com/v1", "tls": tls}
    bare = make("Upstream", "u", spec, **upstream)
    chosen = make("Proxy", "p", {"upstreams": [{"name": "u", "credential": "key"}]}, **proxy)
    own = make("Upstream", "u", spec | {"credential": "key"}, **upstream)
    for resources in (graph(found, bare, chosen), graph(found, own)):
        problems = check_graph(resources)
        assert bool(problems) == refused
        assert all("tls.ca" in p.message and "upstreams/u" in p.mend for p in problems)


def test_a_host_may_be_narrowed_to_a_port() -> None:
    narrow = make(
        "Credential",
        "key",
        {"type": "bearer", "secret": "s", "allowedHosts": ["api.openai.com:8443"]},
    )
    assert check_graph(graph(narrow, OPENAI))
