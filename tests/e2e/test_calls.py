"""Calling a proxy in each way there is, and what the provider really receives."""

from __future__ import annotations

import json

import httpx
import openai
import pytest

from tests.support.gateway import Gateway
from tests.support.provider import Provider

VARIABLES = {"dish": "김치볶음밥", "mood": "warm"}
RENDERED = ["Voice: warm", "Dish: 김치볶음밥"]


def client(gateway: Gateway, path: str) -> openai.OpenAI:
    base = str(gateway.caller.base_url).rstrip("/")
    return openai.OpenAI(base_url=base + path, api_key="callers-own-key", max_retries=0)


def plan_of(response: httpx.Response) -> str:
    return response.headers["x-naru-plan"]


def test_the_simple_request(gateway: Gateway, provider: Provider) -> None:
    response = gateway.run("menu-copy", VARIABLES)
    assert response.status_code == 200, response.text
    received = provider.by_request_id(response.headers["x-request-id"])
    assert received.path == "/base/v1/chat/completions"
    assert received.contents == RENDERED
    assert [m["role"] for m in received.body["messages"]] == ["system", "user"]
    assert received.body["model"] == "gpt-4o-mini"
    assert received.headers["authorization"] == f"Bearer {provider.key}"
    assert response.json()["choices"][0]["message"]["content"] == " | ".join(RENDERED)


def test_curl_sends_no_json_content_type(gateway: Gateway, provider: Provider) -> None:
    body = json.dumps({"variables": VARIABLES}, ensure_ascii=False).encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    response = gateway.caller.post("/p/menu-copy", content=body, headers=headers)
    assert response.status_code == 200, response.text
    assert provider.by_request_id(response.headers["x-request-id"]).contents == RENDERED


def test_which_plan_handled_it(gateway: Gateway) -> None:
    name, _, version = plan_of(gateway.run("menu-copy", VARIABLES)).partition(".")
    assert name.startswith("menu-copy#")
    assert len(version) == 16
    assert plan_of(gateway.run("menu-copy", VARIABLES)) == f"{name}.{version}"


def test_params_the_callers_over_the_proxys_over_the_templates(
    gateway: Gateway, provider: Provider
) -> None:
    response = gateway.run("menu-copy", VARIABLES, params={"max_tokens": 9})
    body = provider.by_request_id(response.headers["x-request-id"]).body
    assert body["top_p"] == 0.9  # the template's
    assert body["temperature"] == 0.2  # the proxy's wins over the template's 0.7
    assert body["max_tokens"] == 9  # the caller's, which the proxy allows


@pytest.mark.parametrize(("path", "model"), [("/p/menu-copy/v1", "anything"), ("/v1", "menu-copy")])
def test_the_official_sdk(gateway: Gateway, provider: Provider, path: str, model: str) -> None:
    with client(gateway, path) as sdk:
        answer = sdk.chat.completions.with_raw_response.create(
            model=model,
            messages=[{"role": "user", "content": "Shorter, please"}],
            max_tokens=11,
            extra_body={"variables": VARIABLES},
        )
    received = provider.by_request_id(answer.headers["x-request-id"])
    assert received.contents == [*RENDERED, "Shorter, please"]
    assert received.body["model"] == "gpt-4o-mini"
    assert received.body["max_tokens"] == 11
    assert "variables" not in received.body
    assert "callers-own-key" not in str(received.headers)
    text = answer.parse().choices[0].message.content
    assert text == " | ".join([*RENDERED, "Shorter, please"])


@pytest.mark.parametrize(("path", "model"), [("/p/menu-copy/v1", "anything"), ("/v1", "menu-copy")])
def test_the_official_sdk_streamed(gateway: Gateway, path: str, model: str) -> None:
    with client(gateway, path) as sdk:
        stream = sdk.chat.completions.create(
            model=model, messages=[], stream=True, extra_body={"variables": VARIABLES}
        )
        pieces = [c.choices[0].delta.content for c in stream if c.choices[0].delta.content]
    assert len(pieces) > 3
    assert "".join(pieces).split() == " | ".join(RENDERED).split()


def test_the_simple_request_streamed(gateway: Gateway) -> None:
    body = {"variables": VARIABLES, "stream": True}
    with gateway.caller.stream("POST", "/p/menu-copy", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_a_proxy_without_a_template_passes_the_callers_messages(
    gateway: Gateway, provider: Provider
) -> None:
    with client(gateway, "/v1") as sdk:
        answer = sdk.chat.completions.with_raw_response.create(
            model="plain", messages=[{"role": "user", "content": "hi"}], temperature=0.5
        )
    received = provider.by_request_id(answer.headers["x-request-id"])
    assert received.contents == ["hi"]
    assert received.body["temperature"] == 0.5


def test_the_list_of_models(gateway: Gateway) -> None:
    with client(gateway, "/v1") as sdk:
        assert {"menu-copy", "plain"} <= {model.id for model in sdk.models.list()}


def test_nothing_of_the_caller_or_the_gateway_reaches_the_provider(
    gateway: Gateway, provider: Provider
) -> None:
    headers = {
        "authorization": "Bearer callers-own-key",
        "x-api-key": "callers-own-key",
        "cookie": "session=callers-own-key",
        "x-forwarded-for": "198.51.100.7",
    }
    response = gateway.caller.post("/p/menu-copy", json={"variables": VARIABLES}, headers=headers)
    received = provider.by_request_id(response.headers["x-request-id"])
    assert "callers-own-key" not in str(received.headers)
    assert not {name for name in received.headers if name.startswith(("x-envoy", "x-forwarded"))}
    assert not {name for name in received.headers if name.startswith("x-naru")}


def test_the_caller_never_sees_the_credential(gateway: Gateway, provider: Provider) -> None:
    for response in (
        gateway.run("menu-copy", VARIABLES),
        gateway.run("menu-copy", {}),
        gateway.caller.get("/v1/models"),
    ):
        assert provider.key not in response.text + str(response.headers)


def test_the_credential_is_nowhere_to_be_found(gateway: Gateway, provider: Provider) -> None:
    """Not in etcd's files, the logs, the API's answers or Envoy's configuration dump."""
    gateway.run("menu-copy", VARIABLES)
    canary = provider.key.encode()
    files = [path for path in gateway.data_dir.rglob("*") if path.is_file()]
    assert any("etcd" in str(path) for path in files)
    assert not [str(path) for path in files if canary in path.read_bytes()]
    assert canary not in gateway.log.read_bytes()
    for kind in ("credentials", "upstreams", "proxies", "templates"):
        assert canary not in gateway.api.get(f"/api/v1/{kind}").content
    dump = httpx.get(f"{gateway.endpoints['envoy_admin']}/config_dump?include_eds").content
    assert b"menu-copy" in dump
    assert canary not in dump


def test_nothing_the_caller_says_is_in_the_log(gateway: Gateway) -> None:
    gateway.run("menu-copy", {"dish": "canary-text-of-a-caller", "mood": "warm"})
    gateway.run("menu-copy", {"canary-name-of-a-caller": 1})
    gateway.caller.post("/p/menu-copy?q=canary-query-of-a-caller", json={})
    assert gateway.run("menu-copy", VARIABLES).status_code == 200
    for canary in ("canary-text", "canary-name", "canary-query"):
        assert canary not in gateway.logs()
