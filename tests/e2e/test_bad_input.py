"""Whatever a caller sends, the answer is a clear JSON error with a stable code, and harms nothing."""

from __future__ import annotations

import gzip
import json
import time
from typing import Any

import httpx
import pytest

from tests.support.gateway import Gateway, document
from tests.support.provider import Provider

GOOD = {"dish": "bibimbap", "mood": "warm"}
JSON = {"content-type": "application/json"}
CANARY = "canary-of-the-caller"


def check_error(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert error["code"] == code, error
    assert error["message"]
    assert {"type", "param"} <= error.keys()
    assert error["request_id"] == response.headers["x-request-id"]
    assert CANARY not in response.text


@pytest.fixture(autouse=True)
def _nothing_reaches_the_provider(gateway: Gateway, provider: Provider) -> Any:
    """Each test here is refused before the provider, and a good call still works afterwards."""
    before = len(provider.received)
    yield
    assert len(provider.received) == before
    assert gateway.run("menu-copy", GOOD).status_code == 200


@pytest.mark.parametrize("path", ["/p/nothing", "/p/menu-copyx", "/p/menu", "/p/", "/p/menu-copy/"])
def test_unknown_proxy(gateway: Gateway, path: str) -> None:
    check_error(gateway.caller.post(path, json={"variables": GOOD}), 404, "proxy_not_found")


@pytest.mark.parametrize("path", ["/", "/v2/chat", "/v1", "/admin"])
def test_unknown_path(gateway: Gateway, path: str) -> None:
    check_error(gateway.caller.post(path, json={}), 404, "not_found")


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({}, "missing_variable"),
        ({"dish": "x"}, "missing_variable"),
        ({**GOOD, CANARY: 1}, "unknown_variable"),
        ({"dish": 5, "mood": "warm"}, "invalid_variable"),
        ({"dish": None, "mood": "warm"}, "invalid_variable"),
        ({"dish": CANARY, "mood": CANARY}, "invalid_variable"),
        ({"dish": CANARY * 50, "mood": "warm"}, "invalid_variable"),
        ({**GOOD, "extras": CANARY}, "invalid_variable"),
    ],
)
def test_variables(gateway: Gateway, variables: dict[str, Any], code: str) -> None:
    check_error(gateway.run("menu-copy", variables), 400, code)
    body = {"model": "menu-copy", "messages": [], "variables": variables}
    check_error(gateway.caller.post("/v1/chat/completions", json=body), 400, code)


@pytest.mark.parametrize(
    "content",
    [
        b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b'{"variables": {"dish": "\xff"}}',
        b'{"variables": NaN}', b"[" * 100_000, b'{"a":' * 100_000, CANARY.encode(),
    ],
)  # fmt: skip
def test_not_a_json_object(gateway: Gateway, content: bytes) -> None:
    for path in ("/p/menu-copy", "/p/menu-copy/v1/chat/completions"):
        response = gateway.caller.post(path, content=content, headers=JSON)
        check_error(response, 400, "invalid_json")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"[]", "missing_model"),
        (b"{}", "missing_model"),
        (b'{"model": null}', "missing_model"),
        (b'{"model": {"a": 1}}', "missing_model"),
        (b"", "missing_model"),
    ],
)
def test_v1_without_a_model(gateway: Gateway, content: bytes, code: str) -> None:
    response = gateway.caller.post("/v1/chat/completions", content=content, headers=JSON)
    check_error(response, 400, code)


@pytest.mark.parametrize(
    "model", [CANARY, "menu-copy ", "menu", "!missing?", "7", "메뉴", "a" * 5000]
)
def test_unknown_model(gateway: Gateway, model: str) -> None:
    body = {"model": model, "messages": [], "variables": GOOD}
    response = gateway.caller.post("/v1/chat/completions", json=body)
    check_error(response, 404, "model_not_found")


@pytest.mark.parametrize("path", ["/p/menu-copy", "/p/menu-copy/v1/chat/completions"])
def test_no_body(gateway: Gateway, path: str) -> None:
    check_error(gateway.caller.post(path, headers=JSON), 400, "empty_body")


def test_an_empty_chunked_body(gateway: Gateway) -> None:
    response = gateway.caller.post("/p/menu-copy", content=iter([b""]), headers=JSON)
    assert response.status_code == 400
    assert response.json()["error"]["code"] in ("empty_body", "invalid_json")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "TRACE", "PATCH", "OPTIONS"])
def test_other_methods(gateway: Gateway, method: str) -> None:
    for path in ("/p/menu-copy", "/p/menu-copy/v1/chat/completions", "/v1/chat/completions"):
        response = gateway.caller.request(method, path, json={"variables": GOOD})
        assert response.status_code == 405
        assert method == "HEAD" or response.json()["error"]["code"] == "method_not_allowed"


def test_a_body_above_the_limit(gateway: Gateway) -> None:
    body = {"variables": {"dish": "x" * (32 << 20), "mood": "warm"}}
    check_error(gateway.caller.post("/p/menu-copy", json=body), 413, "body_too_large")
    response = gateway.caller.post("/v1/chat/completions", json=body | {"model": "menu-copy"})
    check_error(response, 413, "body_too_large")
    assert "/p/{proxy}/v1" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "application/jsonx", "multipart/form-data"]
)
def test_wrong_content_type(gateway: Gateway, kind: str) -> None:
    content = json.dumps({"model": "menu-copy", "messages": [], "variables": GOOD}).encode()
    for path in ("/p/menu-copy", "/p/menu-copy/v1/chat/completions", "/v1/chat/completions"):
        response = gateway.caller.post(path, content=content, headers={"content-type": kind})
        check_error(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate"])
def test_compressed(gateway: Gateway, encoding: str) -> None:
    content = gzip.compress(json.dumps({"model": "menu-copy", "variables": GOOD}).encode())
    headers = JSON | {"content-encoding": encoding}
    for path in ("/p/menu-copy", "/p/menu-copy/v1/chat/completions", "/v1/chat/completions"):
        response = gateway.caller.post(path, content=content, headers=headers)
        check_error(response, 415, "compressed_body")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"variables": []}, "invalid_request"),
        ({"variables": GOOD, "params": []}, "invalid_request"),
        ({"variables": GOOD, "stream": "yes"}, "invalid_request"),
        ({"variables": GOOD, CANARY: 1}, "invalid_request"),
        ({"variables": GOOD, "params": {"temperature": 2}}, "param_not_allowed"),
        ({"variables": GOOD, "params": {CANARY: 2}}, "param_not_allowed"),
        ({"variables": GOOD, "params": {"messages": []}}, "param_not_allowed"),
    ],
)
def test_the_simple_requests_fields(gateway: Gateway, body: dict[str, Any], code: str) -> None:
    check_error(gateway.caller.post("/p/menu-copy", json=body), 400, code)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"messages": CANARY}, "invalid_request"),
        ({"messages": [], "temperature": 1}, "param_not_allowed"),
        ({"messages": [], CANARY: 1}, "param_not_allowed"),
    ],
)
def test_the_sdk_shapes_fields(gateway: Gateway, body: dict[str, Any], code: str) -> None:
    body |= {"model": "menu-copy", "variables": GOOD}
    check_error(gateway.caller.post("/v1/chat/completions", json=body), 400, code)


def test_a_template_belongs_to_chat_completions(gateway: Gateway) -> None:
    body = {"model": "menu-copy", "input": "x", "variables": GOOD}
    for path in ("/v1/embeddings", "/p/menu-copy/v1/embeddings"):
        check_error(gateway.caller.post(path, json=body), 404, "unsupported_endpoint")


def test_the_simple_request_needs_a_template(gateway: Gateway) -> None:
    check_error(gateway.run("plain", GOOD), 400, "template_required")


@pytest.mark.parametrize("path", ["/p%2fmenu-copy", "/p/menu-copy%2fv1/chat/completions"])
def test_escaped_slashes(gateway: Gateway, path: str) -> None:
    response = gateway.caller.post(path, json={"variables": GOOD})
    assert response.status_code in (400, 404)
    assert response.json()["error"]["code"] in ("bad_http", "proxy_not_found")


def test_dots_in_the_path_do_not_lead_elsewhere(gateway: Gateway) -> None:
    with httpx.Client() as raw:
        url = f"{gateway.endpoints['gateway']}/p/menu-copy/../nothing"
        request = raw.build_request("POST", url, json={"variables": GOOD})
        request.url = request.url.copy_with(raw_path=b"/p/menu-copy/../nothing")
        check_error(raw.send(request), 404, "proxy_not_found")


def test_a_template_of_1_mb_is_not_taken(gateway: Gateway) -> None:
    messages = [{"role": "user", "content": "x" * 1_000_000}]
    response = gateway.api.put(
        "/api/v1/templates/huge", json=document("Template", "huge", {"messages": messages})
    )
    assert response.status_code in (413, 422)
    assert gateway.api.get("/api/v1/templates/huge").status_code == 404


@pytest.mark.parametrize(
    "content",
    ["{% for i in range(1000000000) %}x{% endfor %}", "{{ dish * 1000000000 }}"],
)
def test_a_template_that_cannot_end_is_not_taken(gateway: Gateway, content: str) -> None:
    spec = {"messages": [{"role": "user", "content": content}]}
    response = gateway.api.put("/api/v1/templates/loop", json=document("Template", "loop", spec))
    assert response.status_code == 422
    (problem,) = response.json()["error"]["problems"]
    assert problem["field"] == "spec.messages.0.content"
    assert problem["mend"]


def test_a_template_that_the_caller_makes_run_away(gateway: Gateway) -> None:
    """Three nested loops over a list of 3,000 would be 27 billion rounds."""
    loops = "{% for a in l %}{% for b in l %}{% for c in l %}{{ a }}{% endfor %}{% endfor %}{% endfor %}"
    choice = {"name": "provider", "model": "m"}
    gateway.apply(
        document("Template", "runaway", {"messages": [{"role": "user", "content": loops}]}),
        document("Proxy", "runaway", {"upstreams": [choice], "template": "runaway"}),
    )
    started = time.monotonic()
    response = gateway.run("runaway", {"l": [CANARY] * 3_000})
    assert time.monotonic() - started < 2
    check_error(response, 422, "template_too_expensive")
    gateway.api.delete("/api/v1/proxies/runaway").raise_for_status()
    gateway.api.delete("/api/v1/templates/runaway").raise_for_status()
