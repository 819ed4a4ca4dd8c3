"""Upstreams by name: what a name may resolve to, and whose certificate is believed.

Clusters as the compiler makes them, in a real Envoy that asks a DNS server of the test's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf.json_format import MessageToDict

from control_plane.compile import Compiled, Compiler, GatewaySettings
from control_plane.resources import parse
from control_plane.resources.addresses import AddressPolicy, Place, parse_rule
from tests.support import golden  # knows every message's type
from tests.support.bootstrap import ext_proc_cluster, static_bootstrap
from tests.support.certificates import Authority
from tests.support.dns import resolver_of, running_dns
from tests.support.envoy import EnvoyProcess
from tests.support.gateway import document, wait_for
from tests.support.provider import Provider, running_provider

assert golden
BODY = {"model": "m", "messages": [{"role": "user", "content": "canary-text"}]}
METADATA = "169.254.169.254"


@dataclass
class World:
    """An Envoy with a native proxy for each upstream, and what is behind it."""

    envoy: EnvoyProcess
    http: httpx.Client
    answers: dict[str, list[str]]
    providers: dict[str, Provider]

    def call(self, proxy: str, body: object = BODY) -> httpx.Response:
        return self.http.post(f"/p/{proxy}/v1/chat/completions", json=body)

    def code(self, proxy: str, body: object = BODY) -> tuple[int, str]:
        """The status and code of an error."""
        response = self.call(proxy, body)
        error = response.json()["error"]
        assert error["request_id"], response.text
        assert METADATA not in response.text
        return response.status_code, error["code"]

    def stat(self, proxy: str, name: str) -> int:
        return self.envoy.stat(f"cluster.{proxy}.{name}") or 0


@dataclass
class Plan:
    """What a world is made of."""

    hosts: list[str] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, url: str, **tls: str) -> None:
        """A proxy and an upstream of this name."""
        spec: dict[str, Any] = {"dialect": "openai", "url": url, "credential": "key"}
        spec |= {"timeouts": {"connect": "1s", "request": "5s"}} | ({"tls": tls} if tls else {})
        self.hosts.append(url.split("/")[2])
        self.documents += [
            document("Upstream", name, spec),
            document("Proxy", name, {"upstreams": [{"name": name}]}),
        ]

    def compiled(self, policy: AddressPolicy) -> Compiled:
        spec = {"type": "bearer", "secret": "sk-provider-canary", "allowedHosts": self.hosts}
        resources = map(parse, (*self.documents, document("Credential", "key", spec)))
        settings = GatewaySettings(port=0, addresses=policy)
        compiled = Compiler(settings).compile(1, {r.key: r for r in resources})
        assert not compiled.aside, compiled.aside
        return compiled


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory: Path = tmp_path_factory.mktemp("names")
    ours, theirs = Authority(directory, "ours"), Authority(directory, "theirs")
    with ExitStack() as stack:

        def provider(**served: Any) -> Provider:
            return stack.enter_context(running_provider(**served))

        plain, own = provider(), provider()
        right = provider(served=ours.serve("models.test", "localhost", "127.0.0.1"))
        by_name = provider(served=ours.serve("models.test"))
        expired = provider(served=ours.serve("models.test", expired=True))
        itself = provider(served=ours.serve("models.test", itself=True))
        answers: dict[str, list[str]] = {"models.test": ["127.0.0.1"]}
        plan = Plan()
        _names(plan, answers, plain, own)
        plan.add("right", right.url_at("models.test"), ca=ours.pem)
        plan.add("right-localhost", right.url_at("localhost"), ca=ours.pem)
        plan.add("right-ip", right.url, ca=ours.pem)
        plan.add("right-dot", right.url_at("models.test."), ca=ours.pem)
        plan.add("right-own-name", by_name.url, ca=ours.pem, serverName="models.test")
        plan.add("right-two", right.url, ca=theirs.pem + ours.pem)
        plan.add("wrong-name", right.url_at("other.test"), ca=ours.pem)
        plan.add("wrong-ip", by_name.url, ca=ours.pem)
        plan.add("wrong-own-name", right.url, ca=ours.pem, serverName="other.test")
        plan.add("wrong-ca", right.url_at("models.test"), ca=theirs.pem)
        plan.add("wrong-system", right.url_at("models.test"))
        plan.add("wrong-expired", expired.url_at("models.test"), ca=ours.pem)
        plan.add("wrong-itself", itself.url_at("models.test"), ca=ours.pem)
        plan.add("wrong-plain", plain.url_at("models.test").replace("http:", "https:"))
        policy = AddressPolicy((Place("127.0.0.1", own.port),), (parse_rule("exempt.test"),))
        bootstrap = MessageToDict(
            static_bootstrap(plan.compiled(policy), (ext_proc_cluster("/nowhere"),))
        )
        bootstrap["typedDnsResolverConfig"] = resolver_of(stack.enter_context(running_dns(answers)))
        envoy = stack.enter_context(EnvoyProcess(directory / "envoy", bootstrap))
        port = envoy.port("gateway")
        http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
        stack.enter_context(http)
        providers = {"plain": plain, "own": own, "right": right, "by-name": by_name,
                     "expired": expired, "itself": itself}  # fmt: skip
        yield World(envoy, http, answers, providers)


def _names(plan: Plan, answers: dict[str, list[str]], plain: Provider, own: Provider) -> None:
    answers["other.test"] = ["127.0.0.1"]
    for name, found, provider in (
        ("plain", ["127.0.0.1"], plain),
        ("metadata", [METADATA], plain),
        ("link-local", ["fe80::1"], plain),
        ("mapped", [f"::ffff:{METADATA}"], plain),
        ("nat64", ["64:ff9b::a9fe:a9fe"], plain),
        ("nowhere", ["0.0.0.0"], plain),
        ("own", ["127.0.0.1"], own),
        ("exempt", ["127.0.0.1"], own),
        ("rebinding", ["127.0.0.1"], plain),
        ("mixed", ["127.0.0.1", METADATA], plain),
        ("unknown", [], plain),
    ):
        answers[f"{name}.test"] = found
        plan.add(name, provider.url_at(f"{name}.test"))


REFUSED = ("metadata", "link-local", "mapped", "nat64", "nowhere", "own")


@pytest.mark.parametrize("proxy", ["plain", "exempt"])
def test_a_name_is_resolved_and_gets_the_credential(world: World, proxy: str) -> None:
    response = world.call(proxy)
    assert response.status_code == 200, response.text
    provider = world.providers["own" if proxy == "exempt" else proxy]
    received = provider.by_request_id(response.headers["x-request-id"])
    assert received.headers["authorization"] == "Bearer sk-provider-canary"
    assert received.headers["host"].startswith(f"{proxy}.test:")


@pytest.mark.parametrize("proxy", REFUSED)
@pytest.mark.parametrize(
    "body", [BODY, None, {"large": "x" * 2_000_000}], ids=["small", "none", "large"]
)
def test_a_name_that_resolves_to_what_is_refused(world: World, proxy: str, body: object) -> None:
    before = [len(provider.received) for provider in world.providers.values()]
    assert world.code(proxy, body) == (502, "upstream_address_denied")
    assert world.stat(proxy, "upstream_cx_total") == 0, "there was a connection"
    assert [len(provider.received) for provider in world.providers.values()] == before


def test_a_name_that_moves_to_what_is_refused(world: World) -> None:
    """DNS rebinding: also the connections that were good are given up."""
    assert world.call("rebinding").status_code == 200
    world.answers["rebinding.test"] = [METADATA]
    denied = (502, "upstream_address_denied")
    wait_for(lambda: world.call("rebinding").status_code == 502, 15, "the new answer")
    seen = len(world.providers["plain"].received)
    connections = world.stat("rebinding", "upstream_cx_total")
    assert {world.code("rebinding") for _ in range(10)} == {denied}
    assert world.stat("rebinding", "upstream_cx_total") == connections
    assert len(world.providers["plain"].received) == seen


def test_of_several_addresses_each_is_judged(world: World) -> None:
    statuses = [world.call("mixed").status_code for _ in range(8)]
    assert set(statuses) == {200, 502}
    assert world.stat("mixed", "upstream_cx_connect_fail") == 0, "the other one was tried"


def test_a_name_without_an_address(world: World) -> None:
    assert world.code("unknown") == (503, "upstream_unavailable")


@pytest.mark.parametrize(
    ("proxy", "provider", "asked_for"),
    [
        ("right", "right", "models.test"),
        ("right-localhost", "right", "localhost"),
        ("right-ip", "right", None),
        ("right-dot", "right", "models.test"),
        ("right-own-name", "by-name", "models.test"),
        ("right-two", "right", None),
    ],
)
def test_the_right_certificate(
    world: World, proxy: str, provider: str, asked_for: str | None
) -> None:
    response = world.call(proxy)
    assert response.status_code == 200, response.text
    behind = world.providers[provider]
    received = behind.by_request_id(response.headers["x-request-id"])
    assert received.headers["authorization"] == "Bearer sk-provider-canary"
    assert behind.asked_for[-1] == asked_for


@pytest.mark.parametrize(
    "proxy",
    ["wrong-name", "wrong-ip", "wrong-own-name", "wrong-ca", "wrong-system", "wrong-expired",
     "wrong-itself", "wrong-plain"],
)  # fmt: skip
def test_a_wrong_certificate(world: World, proxy: str) -> None:
    before = [len(provider.received) for provider in world.providers.values()]
    assert world.code(proxy) == (502, "upstream_tls_failed")
    assert [len(provider.received) for provider in world.providers.values()] == before
    assert world.stat(proxy, "upstream_rq_total") == 0, "a request went out"


def test_every_refusal_of_a_certificate_was_tried_for_the_reason_it_names(world: World) -> None:
    verified: Callable[[str], int] = lambda proxy: world.stat(proxy, "ssl.fail_verify_san")  # noqa: E731
    for proxy in ("wrong-name", "wrong-ip", "wrong-own-name"):
        world.code(proxy)
        assert verified(proxy) > 0, proxy
    for proxy in ("wrong-ca", "wrong-system", "wrong-expired", "wrong-itself"):
        world.code(proxy)
        assert world.stat(proxy, "ssl.fail_verify_error") > 0, proxy
        assert verified(proxy) == 0, proxy
