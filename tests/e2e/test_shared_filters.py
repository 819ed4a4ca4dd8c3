"""What most routes share stands on the virtual host: it must not reach the routes that differ."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.support.gateway import Gateway, document

MESSAGES = [{"role": "user", "content": "hello"}]
PARTS = {
    "own-header": {"type": "header", "header": "x-own-key", "secret": "sk-own"},
    "usual": {"type": "bearer", "secret": "sk-provider-canary"},
}


class Server(ThreadingHTTPServer):
    """Answers everything, whatever the credential, and keeps the headers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.headers: dict[str, dict[str, str]] = {}


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.headers[headers["x-request-id"]] = headers
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def proxies(gateway: Gateway, server: Server) -> Iterator[None]:
    """For each credential, and for none, a proxy whose body a worker makes."""
    names = [*PARTS, "none"]
    template = document("Template", "shared", {"messages": MESSAGES})
    gateway.apply(template, *(d for name in names for d in parts(name, server)))
    yield
    for plural in ("proxies", "upstreams", "credentials"):
        for name in names:
            gateway.api.delete(f"/api/v1/{plural}/shared-{name}")
    gateway.api.delete("/api/v1/templates/shared").raise_for_status()


def parts(name: str, server: Server) -> list[dict[str, Any]]:
    own, url = f"shared-{name}", f"http://127.0.0.1:{server.server_port}/v1"
    spec: dict[str, Any] = {"dialect": "openai", "url": url}
    choice = {"name": own, "model": "gpt-4o-mini"}
    documents = [document("Proxy", own, {"upstreams": [choice], "template": "shared"})]
    if name in PARTS:
        secret = PARTS[name] | {"allowedHosts": ["127.0.0.1"]}
        documents.append(document("Credential", own, secret))
        spec["credential"] = own
    return [*documents, document("Upstream", own, spec)]


def ask(gateway: Gateway, name: str, way: str) -> httpx.Response:
    headers = {"authorization": "Bearer callers-own"}
    if way == "simple":
        return gateway.caller.post(f"/p/shared-{name}", json={"variables": {}}, headers=headers)
    path = f"/p/shared-{name}/v1" if way == "path" else "/v1"
    body = {"model": f"shared-{name}", "messages": MESSAGES}
    return gateway.caller.post(f"{path}/chat/completions", json=body, headers=headers)


@pytest.mark.parametrize("way", ["simple", "path", "model"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("usual", {"authorization": "Bearer sk-provider-canary"}),
        ("own-header", {"x-own-key": "sk-own"}),
        ("none", {}),
    ],
)
@pytest.mark.usefixtures("proxies")
def test_each_credential_goes_in_its_own_header_and_no_other(
    gateway: Gateway, server: Server, name: str, expected: dict[str, str], way: str
) -> None:
    response = ask(gateway, name, way)
    received = server.headers[response.headers["x-request-id"]]
    assert {k: received[k] for k in ("authorization", "x-own-key") if k in received} == expected
    assert received["content-type"] == "application/json"
    assert response.headers["x-naru-plan"].startswith(f"shared-{name}#")


@pytest.mark.parametrize(
    ("path", "code"),
    [("/p/menu-copyx", "proxy_not_found"), ("/p/menu-copy/other", "proxy_not_found")],
)
def test_a_path_beside_a_proxys_own_is_404_and_no_worker_is_asked(
    gateway: Gateway, path: str, code: str
) -> None:
    asked = "cluster.ext_proc.upstream_rq_total"
    before = gateway.envoy_counters()[asked]
    response = gateway.caller.post(path, json={"variables": {}})
    assert (response.status_code, response.json()["error"]["code"]) == (404, code)
    assert "x-naru-plan" not in response.headers
    assert gateway.envoy_counters()[asked] == before


@pytest.mark.parametrize("content", [b"", b"x"])
def test_an_empty_body_there_is_404_too(gateway: Gateway, content: bytes) -> None:
    response = gateway.caller.post("/p/menu-copyx", content=content)
    assert response.json()["error"]["code"] == "proxy_not_found"
