"""Where upstreams may point and secrets may go, in the whole product."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.gateway import Gateway, document, running_gateway
from tests.support.provider import Provider, running_provider

GOOD = {"dish": "bibimbap", "mood": "warm"}
BODY = {"model": "m", "messages": [{"role": "user", "content": "canary-text"}]}


def upstream(url: str, **spec: Any) -> dict[str, Any]:
    return document("Upstream", "elsewhere", {"dialect": "openai", "url": url, **spec})


def port_of(gateway: Gateway, part: str) -> int:
    found = gateway.endpoints[part]
    port = urlsplit(found if "://" in found else f"//{found}").port
    assert port
    return port


@pytest.mark.parametrize("part", ["gateway", "api", "xds", "envoy_admin", "etcd"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.0.0.2"])
def test_the_gateways_own_parts(gateway: Gateway, part: str, host: str) -> None:
    refused = gateway.apply_any(upstream(f"http://{host}:{port_of(gateway, part)}/v3/kv"))
    assert refused.status_code == 422, refused.text
    (problem,) = refused.json()["error"]["problems"]
    assert problem["field"] == "documents[0].spec.url"
    assert "is the gateway's own" in problem["message"]
    assert gateway.api.get("/api/v1/upstreams/elsewhere").status_code == 404


@contextmanager
def through(gateway: Gateway, url: str, key: str, **proxy: Any) -> Iterator[None]:
    """The proxy `elsewhere`, whose credential names only its upstream's host."""
    host = urlsplit(url).netloc
    spec = {"type": "bearer", "secret": key, "allowedHosts": [host]}
    choice = {"name": "elsewhere", "model": "m"} if proxy else {"name": "elsewhere"}
    gateway.apply(
        document("Credential", "elsewhere", spec),
        upstream(url, credential="elsewhere"),
        document("Proxy", "elsewhere", {"upstreams": [choice], **proxy}),
    )
    try:
        yield
    finally:
        for kind in ("proxies", "upstreams", "credentials"):
            gateway.api.delete(f"/api/v1/{kind}/elsewhere").raise_for_status()


LANES: dict[str, dict[str, Any]] = {
    "native": {},
    "request": {"params": {"temperature": 0}},
    "duplex": {"restore": {"[[SHOP]]": "Our shop"}},
}


def call(gateway: Gateway) -> httpx.Response:
    return gateway.caller.post("/p/elsewhere/v1/chat/completions", json=BODY)


@pytest.mark.parametrize("lane", LANES)
def test_an_upstream_by_name(gateway: Gateway, lane: str) -> None:
    with running_provider("sk-by-name") as provider:
        url = provider.url_at("localhost")
        with through(gateway, url, provider.key, **LANES[lane]):
            answer = call(gateway)
        assert answer.status_code == 200, answer.text
        received = provider.by_request_id(answer.headers["x-request-id"])
        assert received.headers["authorization"] == "Bearer sk-by-name"


@contextmanager
def redirecting(to: str) -> Iterator[str]:
    """A server that sends everybody elsewhere; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(307)
            self.send_header("location", to)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@pytest.mark.parametrize("lane", ["native", "request"])
def test_a_redirect_takes_no_credential_along(
    gateway: Gateway, provider: Provider, lane: str
) -> None:
    target = f"{provider.url}/chat/completions"
    before = len(provider.received)
    with redirecting(target) as url, through(gateway, url, provider.key, **LANES[lane]):
        answer = call(gateway)
    assert answer.status_code == 307
    assert answer.headers["location"] == target
    assert provider.key not in f"{answer.headers}{answer.text}"
    assert len(provider.received) == before


def test_a_credential_stays_where_it_may_be(gateway: Gateway, provider: Provider) -> None:
    """The key of the tour, by every way to another server; then its own still has it."""
    with running_provider("sk-of-a-thief") as thief:
        stolen = upstream(thief.url_at("localhost"), credential="provider-key")
        choice = {"name": "elsewhere", "credential": "provider-key"}
        proxy = document("Proxy", "elsewhere", {"upstreams": [choice]})
        assert gateway.apply_any(stolen).status_code == 422
        bare = upstream(thief.url_at("localhost"))
        assert gateway.apply_any(bare, proxy).status_code == 422
        for path, spec in (
            ("upstreams/provider", {"url": thief.url_at("localhost")}),
            ("credentials/provider-key", {"allowedHosts": ["127.0.0.1", "localhost"]}),
        ):
            patched = gateway.api.patch(f"/api/v1/{path}", json={"spec": spec})
            assert patched.status_code == 422, path
        answer = gateway.run("menu-copy", GOOD)
        assert answer.status_code == 200
        assert thief.received == []


@pytest.fixture(scope="module")
def wary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose operator refuses what this machine's own name resolves to."""
    try:
        resolved = socket.gethostbyname(socket.gethostname())
    except OSError:
        pytest.skip("this machine's name does not resolve")
    data_dir = tmp_path_factory.mktemp("wary") / "data"
    rules = {"NARU_UPSTREAM_DENY": resolved, "NARU_UPSTREAM_ALLOW": "169.254.7.7:80"}
    with running_gateway(data_dir, **rules) as gateway:
        yield gateway


@pytest.mark.parametrize("lane", LANES)
def test_a_name_that_resolves_to_what_is_refused(wary: Gateway, lane: str) -> None:
    with running_provider() as provider:
        url = provider.url_at(socket.gethostname())
        with through(wary, url, provider.key, **LANES[lane]):
            answer = call(wary)
        assert answer.status_code == 502, answer.text
        assert answer.json()["error"]["code"] == "upstream_address_denied"
        assert provider.received == []


def test_what_the_operator_allows(wary: Gateway) -> None:
    wary.apply(upstream("http://169.254.7.7/v1"))
    refused = wary.apply_any(upstream("http://169.254.7.7:81/v1"))
    assert refused.status_code == 422
    mend = refused.json()["error"]["problems"][0]["mend"]
    assert "169.254.7.7:81 in NARU_UPSTREAM_ALLOW" in mend
