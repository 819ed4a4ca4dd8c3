"""`naru up --demo`: the whole product with a real language model behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from naru import Client
from tests.support.gateway import Gateway, free_port, running_gateway, stop

pytestmark = pytest.mark.timeout(240)
VARIABLES = {"dish": "김치볶음밥", "mood": "warm"}


@pytest.fixture(scope="module")
def model_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, model_port: int) -> Iterator[Gateway]:
    data_dir: Path = tmp_path_factory.mktemp("demo") / "data"
    address = f"127.0.0.1:{model_port}"
    with running_gateway(data_dir, "--demo", NARU_MENU_WRITER_ADDRESS=address) as running:
        yield running


def text_of(answer: dict[str, object]) -> str:
    (choice,) = answer["choices"]  # type: ignore[misc]
    return str(choice["message"]["content"])


def test_the_call_of_the_readme(demo: Gateway) -> None:
    body = json.dumps({"variables": VARIABLES}, ensure_ascii=False).encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}  # as curl -d sends it
    response = demo.caller.post("/p/menu-copy", content=body, headers=headers)
    assert response.status_code == 200, response.text
    text = text_of(response.json())
    assert re.search("[가-힣]{2}", text), text
    assert re.search("[a-z]{3}", text), text
    assert response.json()["usage"]["completion_tokens"] > 5


@pytest.mark.parametrize(("path", "model"), [("/p/menu-copy/v1", "any"), ("/v1", "menu-copy")])
def test_the_official_sdk(demo: Gateway, path: str, model: str) -> None:
    base_url = f"{demo.endpoints['gateway']}{path}"
    with openai.OpenAI(base_url=base_url, api_key="unused", max_retries=0) as sdk:
        extra = {"variables": VARIABLES}
        whole = sdk.chat.completions.create(model=model, messages=[], extra_body=extra)
        assert whole.choices[0].message.content
        stream = sdk.chat.completions.create(
            model=model, messages=[], stream=True, extra_body=extra
        )
        pieces = [c.choices[0].delta.content or "" for c in stream if c.choices]
    assert len(pieces) > 3
    assert "".join(pieces).strip()


def test_our_own_sdk(demo: Gateway) -> None:
    with Client(demo.endpoints["gateway"]) as client:
        proxy = client.proxy("menu-copy")
        assert proxy.run(**VARIABLES).text.strip()
        assert "".join(proxy.stream(**VARIABLES)).strip()


def test_the_model_checks_the_token_that_only_the_gateway_has(
    demo: Gateway, model_port: int
) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    url = f"http://127.0.0.1:{model_port}/v1/chat/completions"
    for headers in ({}, {"authorization": "Bearer wrong"}):
        assert httpx.post(url, json=body, headers=headers).status_code == 401
    token = (demo.data_dir / "menu-writer-token").read_text().strip()
    accepted = httpx.post(url, json=body, headers={"authorization": f"Bearer {token}"}, timeout=60)
    assert accepted.status_code == 200
    assert token not in demo.logs()
    assert token not in demo.api.get("/api/v1/credentials/menu-writer-key").text


def test_a_second_start_keeps_what_was_edited(
    tmp_path_factory: pytest.TempPathFactory, demo: Gateway
) -> None:
    """On the data of the first, whose product must have ended by then: this is the last test."""
    edited = demo.api.get("/api/v1/templates/menu-copy").json()
    del edited["metadata"]["revision"]
    edited["metadata"]["annotations"] = {"edited": "by a person"}
    demo.apply(edited)
    assert stop(demo.process) == 0
    address = f"127.0.0.1:{free_port()}"
    with running_gateway(demo.data_dir, "--demo", NARU_MENU_WRITER_ADDRESS=address) as again:
        found = again.api.get("/api/v1/templates/menu-copy").json()
        assert found["metadata"]["annotations"] == {"edited": "by a person"}
        assert again.run("menu-copy", VARIABLES).status_code == 200
