"""What must hold between resources."""

from __future__ import annotations

from typing import Any

from control_plane.resources import Key, Resource, check_graph, parse


def make(kind: str, name: str, spec: dict[str, Any]) -> Resource:
    metadata = {"name": name}
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


def test_a_host_may_be_narrowed_to_a_port() -> None:
    narrow = make(
        "Credential",
        "key",
        {"type": "bearer", "secret": "s", "allowedHosts": ["api.openai.com:8443"]},
    )
    assert check_graph(graph(narrow, OPENAI))
