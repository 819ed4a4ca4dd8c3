"""The HTTP side with a model that needs no model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import TOKEN, FakeLlama
from starlette.testclient import TestClient

from menu_writer import Engine, Token, attach, build_app

CHAT = {"messages": [{"role": "user", "content": "rice"}]}
ALLOWED = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def llama() -> FakeLlama:
    return FakeLlama()


@pytest.fixture
def client(llama: FakeLlama) -> Iterator[TestClient]:
    app = build_app("0")
    attach(app, Token(TOKEN), Engine(llama))
    with TestClient(app, headers=ALLOWED) as client:
        yield client


def events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_chat_answer(client: TestClient) -> None:
    answer = client.post("/v1/chat/completions", json=CHAT).json()
    assert answer["object"] == "chat.completion" and answer["model"] == "gemma-3-270m"
    choice = answer["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "Warm rice", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + 3 == 10


def test_a_streamed_chat_answer(client: TestClient) -> None:
    body = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
    response = client.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    first, *middle, end, usage = events(response.text)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(e["choices"][0]["delta"]["content"] for e in middle) == "Warm rice"
    assert end["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] == 3
    assert {e["id"] for e in (first, *middle, end, usage)} == {first["id"]}
    assert all(e["usage"] is None for e in (first, *middle, end))


def test_a_streamed_answer_without_usage_has_none(client: TestClient) -> None:
    response = client.post("/v1/chat/completions", json=CHAT | {"stream": True})
    assert all("usage" not in event for event in events(response.text))


def test_a_completion_keeps_the_white_space(client: TestClient) -> None:
    answer = client.post("/v1/completions", json={"prompt": "p"}).json()
    assert answer["object"] == "text_completion" and answer["choices"][0]["text"] == " Warm rice\n"
    streamed = events(client.post("/v1/completions", json={"prompt": "p", "stream": True}).text)
    assert "".join(event["choices"][0]["text"] for event in streamed) == " Warm rice\n"


def test_the_models(client: TestClient) -> None:
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["gemma-3-270m"]


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}]
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/none"])
def test_nobody_gets_in_without_the_token(
    client: TestClient, llama: FakeLlama, path: str, headers: dict[str, str]
) -> None:
    client.headers.pop("authorization")
    for response in (client.get(path, headers=headers), client.post(path, json=CHAT, headers=headers)):
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"] == "Bearer"
    assert llama.requests == []


def test_before_there_is_a_token_nobody_gets_in() -> None:
    response = TestClient(build_app("0")).get("/v1/models", headers=ALLOWED)
    assert response.status_code == 401


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"{}", 422, "invalid_value"),
        (b'{"messages": [{"role": "user", "content": "a"}], "model": "b"}', 404, "model_not_found"),
        (b" " * (1 << 20) + b" ", 413, "body_too_large"),
    ],
)
def test_errors_have_openais_shape(client: TestClient, content: bytes, status: int, code: str) -> None:
    response = client.post("/v1/chat/completions", content=content)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["code"] == code and set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("stream", [False, True])
def test_what_fails_before_the_first_word_has_its_own_status(
    client: TestClient, llama: FakeLlama, stream: bool
) -> None:
    llama.error = {"code": 400, "type": "exceed_context_size_error"}
    response = client.post("/v1/chat/completions", json=CHAT | {"stream": stream})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


def test_what_fails_later_ends_the_stream_with_an_error_and_without_done(
    client: TestClient, llama: FakeLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(request: Any, on_chunk: Any) -> None:
        on_chunk({"choices": [{"text": "a", "finish_reason": None}], "timings": {}})
        raise OSError("broken")

    monkeypatch.setattr(llama, "complete", fail)
    text = client.post("/v1/chat/completions", json=CHAT | {"stream": True}).text
    last = json.loads(text.rstrip().rsplit("\n\n", 1)[1].removeprefix("data: "))
    assert last["error"]["code"] == "engine_failure" and "[DONE]" not in text


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_hangs_up_stops_the_model(stream: bool) -> None:
    llama = FakeLlama(*"abcdefgh", hold=True)
    engine = Engine(llama)
    app = build_app("0")
    attach(app, Token(TOKEN), engine)
    body = json.dumps(CHAT | {"stream": stream}).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        while not llama.requests:
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"",
        "headers": [(b"authorization", f"Bearer {TOKEN}".encode())],
    }  # fmt: skip
    async with asyncio.timeout(10):
        await app(scope, receive, send)
        assert engine.in_hand == 0
        llama.release.set()
        while not llama.stopped_after:
            await asyncio.sleep(0)
    assert llama.stopped_after[0] < len(llama.words)
