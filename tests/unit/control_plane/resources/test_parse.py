"""Every wrong document is refused with the field and the mend; every right one is kept whole."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.resources import KINDS, Credential, InvalidResource, Upstream, parse

TEMPLATE = {"messages": [{"role": "user", "content": "{{ dish }}"}]}
PROXY = {"upstreams": [{"name": "menu-writer"}]}
HTTPS = {"url": "https://127.0.0.1:9000/v1"}
PEM = "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n"
"""In the shape of a certificate, which is all that is looked at here."""
UPSTREAM = {"dialect": "openai", "url": "http://127.0.0.1:9000/v1"}
CREDENTIAL = {"type": "bearer", "secret": "canary-secret", "allowedHosts": ["127.0.0.1"]}
SPECS: dict[str, dict[str, Any]] = {
    "Template": TEMPLATE,
    "Proxy": PROXY,
    "Upstream": UPSTREAM,
    "Credential": CREDENTIAL,
}


def document(kind: str, spec: dict[str, Any] | None = None, name: str = "menu") -> dict[str, Any]:
    return {
        "apiVersion": "naru/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": SPECS[kind] if spec is None else spec,
    }


def problems_of(wrong: Any) -> dict[str, str]:
    with pytest.raises(InvalidResource) as caught:
        parse(wrong)
    assert all(problem.mend for problem in caught.value.problems)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_every_kind_is_tried_here() -> None:
    assert {kind.__name__ for kind in KINDS.values()} == SPECS.keys()


@pytest.mark.parametrize("kind", SPECS)
def test_a_document_survives_a_round_trip(kind: str) -> None:
    resource = parse(document(kind))
    assert parse(resource.to_document(reveal=True)) == resource


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (None, "$"),
        ([], "$"),
        ({"kind": "Upstream"}, "apiVersion"),
        ({"apiVersion": "naru/v2", "kind": "Upstream"}, "apiVersion"),
        ({"apiVersion": "naru/v1", "kind": "Upstreams"}, "kind"),
        ({"apiVersion": "naru/v1", "kind": ["Upstream"]}, "kind"),
        ({"apiVersion": "naru/v1", "kind": "Upstream"}, "metadata"),
        ({**document("Upstream"), "status": {}}, "status"),
    ],
)
def test_the_envelope(wrong: Any, field: str) -> None:
    assert field in problems_of(wrong)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-a",
        "a-",
        "A",
        "a.b",
        "a/b",
        "../etc/passwd",
        "a" * 64,
        "메뉴",
        "a\n",
        "a b",
        "ａ",
        7,
        None,
    ],
)
def test_a_name_is_a_dns_label(name: Any) -> None:
    assert "metadata.name" in problems_of(document("Upstream", name=name))


@pytest.mark.parametrize("name", ["a", "1", "a-1", "a" * 63])
def test_good_names(name: str) -> None:
    assert parse(document("Upstream", name=name)).key == ("upstreams", name)


@pytest.mark.parametrize(
    ("kind", "change", "field"),
    [
        ("Upstream", {"dialect": "smoke-signals"}, "spec.dialect"),
        ("Upstream", {"url": "ftp://127.0.0.1"}, "spec.url"),
        ("Upstream", {"url": "http://"}, "spec.url"),
        ("Upstream", {"url": "http://user:password@127.0.0.1"}, "spec.url"),
        ("Upstream", {"url": "http://127.0.0.1/v1?key=x"}, "spec.url"),
        ("Upstream", {"url": "http://127.0.0.1:0/"}, "spec.url"),
        ("Upstream", {"url": "http://127.0.0.1:99999/"}, "spec.url"),
        ("Upstream", {"url": "http://메뉴.example/"}, "spec.url"),
        ("Upstream", {"url": "http://a b/"}, "spec.url"),
        ("Upstream", {"timeouts": {"connect": 2}}, "spec.timeouts.connect"),
        ("Upstream", {"timeouts": {"connect": "2 weeks"}}, "spec.timeouts.connect"),
        ("Upstream", {"timeouts": {"connect": "0s"}}, "spec.timeouts"),
        ("Upstream", {"timeouts": {"request": "24h"}}, "spec.timeouts"),
        ("Upstream", {"tls": {"serverName": "x"}}, "spec"),
        ("Upstream", {"connections": {"maxRequests": 0}}, "spec.connections.maxRequests"),
        ("Upstream", HTTPS | {"tls": {"serverName": "a b"}}, "spec.tls.serverName"),
        ("Upstream", HTTPS | {"tls": {"serverName": "127.1"}}, "spec.tls.serverName"),
        ("Upstream", HTTPS | {"tls": {"ca": "/etc/ssl/ca.pem"}}, "spec.tls.ca"),
        ("Upstream", HTTPS | {"tls": {"ca": PEM + "x"}}, "spec.tls.ca"),
        (
            "Upstream",
            HTTPS | {"tls": {"ca": PEM.replace("CERTIFICATE", "PRIVATE KEY")}},
            "spec.tls.ca",
        ),
        (
            "Upstream",
            HTTPS | {"tls": {"ca": PEM + PEM.replace("CERTIFICATE", "RSA PRIVATE KEY")}},
            "spec.tls.ca",
        ),
        ("Upstream", HTTPS | {"tls": {"verify": False}}, "spec.tls.verify"),
        ("Upstream", {"colour": "red"}, "spec.colour"),
        ("Credential", {"type": "bearer", "secret": ""}, "spec.secret"),
        ("Credential", {"secret": "two\nlines"}, "spec.secret"),
        ("Credential", {"secret": "비밀"}, "spec.secret"),
        ("Credential", {"type": "header"}, "spec"),
        ("Credential", {"header": "x-key"}, "spec"),
        ("Credential", {"type": "header", "header": "Host"}, "spec"),
        ("Credential", {"type": "header", "header": "content-length"}, "spec"),
        ("Credential", {"type": "header", "header": "x-envoy-foo"}, "spec"),
        ("Credential", {"type": "header", "header": "bad name"}, "spec"),
        ("Credential", {"allowedHosts": ["*.openai.com"]}, "spec.allowedHosts"),
        ("Credential", {"allowedHosts": ["https://api.openai.com"]}, "spec.allowedHosts"),
        ("Template", {"messages": []}, "spec.messages"),
        ("Template", {"messages": [{"role": "wizard", "content": ""}]}, "spec.messages.0.role"),
        ("Template", {"messages": [{"role": "user", "content": 5}]}, "spec.messages.0.content"),
        (
            "Template",
            {"messages": [{"role": "user", "content": "x" * 70_000}]},
            "spec.messages.0.content",
        ),
        ("Template", {"messages": [{"role": "user", "content": "x" * 40_000}] * 2}, "spec"),
        ("Template", {"params": {"messages": []}}, "spec.params"),
        ("Template", {"variables": {"type": "string"}}, "spec.variables"),
        (
            "Template",
            {"variables": {"type": "object", "properties": {"dish": {"type": "text"}}}},
            "spec.variables",
        ),
        (
            "Template",
            {
                "variables": {
                    "type": "object",
                    "properties": {"dish": {"$ref": "file:///etc/passwd"}},
                }
            },
            "spec.variables",
        ),
        ("Template", {"variables": {"type": "object", "properties": {"mood": {}}}}, "spec"),
        ("Proxy", {"upstreams": []}, "spec.upstreams"),
        ("Proxy", {"upstreams": [{"name": "a"}, {"name": "b"}]}, "spec.upstreams"),
        ("Proxy", {"upstreams": [{"name": "a", "weight": 0}]}, "spec.upstreams.0.weight"),
        ("Proxy", {"template": "menu-copy@production"}, "spec.template"),
        ("Proxy", {"template": ""}, "spec.template"),
        ("Proxy", {"piiPolicy": "default"}, "spec.piiPolicy"),
        ("Proxy", {"params": {"model": "x"}}, "spec.params"),
        ("Proxy", {"allowParams": ["stream"]}, "spec.allowParams"),
    ],
)
def test_a_wrong_spec(kind: str, change: dict[str, Any], field: str) -> None:
    assert field in problems_of(document(kind, SPECS[kind] | change))


def test_all_problems_come_at_once() -> None:
    wrong = document("Upstream", {"dialect": "x", "url": "y", "colour": "red"}, name="-")
    assert problems_of(wrong).keys() == {
        "metadata.name",
        "spec.dialect",
        "spec.url",
        "spec.colour",
    }


@pytest.mark.parametrize(
    "content",
    [
        "{{ dish",
        "{% for %}",
        "{% set a = dish %}",
        "{% macro m() %}{% endmacro %}",
        "{% include 'other' %}",
        "{% extends 'other' %}",
        "{{ dish * 1000000 }}",
        "{{ dish ** 9 }}",
        "{{ dish ~ dish }}",
        "{{ range(1000000000) }}",
        "{{ dish.__class__() }}",
        "{{ dish|attr('x') }}",
        "{{ dish|join(dish) }}",
        "{{ dish|join(['x', dish]) }}",
        "{{ dish|default(-'x') }}",
        "{{ dish|join('x' * 1000000000) }}",
        "{{ dish|join('" + "x" * 65 + "') }}",
        "{% for a in dish recursive %}{{ loop(a) }}{% endfor %}",
        "{{ " + "(" * 2000 + "dish" + ")" * 2000 + " }}",
    ],
)
def test_a_prompt_cannot_multiply_text_or_reach_out(content: str) -> None:
    wrong = document("Template", {"messages": [{"role": "user", "content": content}]})
    assert "spec.messages.0.content" in problems_of(wrong)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "plain",
        "{{ dish }}",
        "{% if mood == 'warm' %}{{ dish|upper }}{% else %}{{ dish[0] }}{% endif %}",
        "{% for a in dishes %}{{ loop.index }}. {{ a.name|default('?') }}\n{% endfor %}",
        "{{ price / 1000 }}",
        "{{ dishes|join(', ') }}",
        "{% for a in dishes|default([]) %}{{ a|round(-1) }}{% endfor %}",
        "{# a remark #}{% raw %}{{ as is }}{% endraw %}",
    ],
)
def test_what_a_prompt_may_do(content: str) -> None:
    parse(document("Template", {"messages": [{"role": "user", "content": content}]}))


def test_the_secret_is_never_shown() -> None:
    credential = parse(document("Credential"))
    assert isinstance(credential, Credential)
    for shown in (repr(credential), str(credential), str(credential.to_document())):
        assert "canary-secret" not in shown
    assert credential.to_document(reveal=True)["spec"]["secret"] == "canary-secret"


def test_the_secret_is_not_in_the_error_either() -> None:
    wrong = document("Credential", {"type": "header", "secret": "canary\nsecret", "x": "canary"})
    with pytest.raises(InvalidResource) as caught:
        parse(wrong)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:9000/v1", (False, "127.0.0.1", 9000, "/v1", "127.0.0.1:9000", True)),
        (
            "https://api.openai.com/v1/",
            (True, "api.openai.com", 443, "/v1", "api.openai.com", False),
        ),
        ("http://[::1]", (False, "::1", 80, "", "[::1]", True)),
    ],
)
def test_a_url_is_taken_apart(url: str, address: tuple[Any, ...]) -> None:
    upstream = parse(document("Upstream", {"dialect": "openai", "url": url}))
    assert isinstance(upstream, Upstream)
    found = upstream.spec.address
    assert (*found, found.authority, found.is_ip) == address


@pytest.mark.parametrize("ca", [PEM, PEM * 3, f"\n{PEM}\n\n{PEM}", PEM.replace("\n", "\r\n")])
def test_certificates_to_trust(ca: str) -> None:
    spec = UPSTREAM | HTTPS | {"tls": {"ca": ca, "serverName": "Models.Internal."}}
    upstream = parse(document("Upstream", spec))
    assert isinstance(upstream, Upstream)
    assert upstream.spec.tls is not None
    assert upstream.spec.tls.serverName == "models.internal"
