"""What is understood, what is refused with which words, and that nothing of the caller's comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from menu_writer.errors import InvalidJson, InvalidRequest, RequestError, UnknownModel
from menu_writer.prompt import STOPS
from menu_writer.requests import ChatRequest, CompletionRequest, parse

USER = {"role": "user", "content": "rice"}
MARK = "zq-callers-text"


def chat(**fields: Any) -> bytes:
    return json.dumps({"messages": [USER], **fields}).encode()


def test_every_parameter_reaches_the_generation() -> None:
    body = chat(
        max_tokens=9, max_completion_tokens=5, temperature=0, top_p=0.5, seed=7, stop=["a", "b"],
        presence_penalty=1, frequency_penalty=-1, model="gemma-3-270m",
    )  # fmt: skip
    generation = parse(ChatRequest, body).to_generation()
    assert (generation.max_tokens, generation.temperature, generation.top_p) == (5, 0.0, 0.5)
    assert (generation.seed, generation.stop) == (7, ("a", "b", *STOPS))
    assert (generation.presence_penalty, generation.frequency_penalty) == (1.0, -1.0)
    assert generation.plain


def test_a_completion_is_the_prompt_as_it_is() -> None:
    generation = parse(CompletionRequest, b'{"prompt": " a\\n\\nb ", "stop": "x"}').to_generation()
    assert (generation.prompt, generation.stop, generation.plain) == (" a\n\nb ", ("x",), False)


def test_text_parts_are_joined_and_harmless_fields_ignored() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    body = chat(messages=[{"role": "user", "content": parts}], n=1, user="u", tools=[], logprobs=False)
    assert "User: ab\n" in parse(ChatRequest, body).to_generation().prompt


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[1]", b'"text"', b"null", b"[" * 100_000])
def test_what_is_no_json_object_is_invalid_json(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse(ChatRequest, body)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": MARK}, "messages"),
        ({"messages": [{"role": MARK, "content": "x"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "user", "content": 5}]}, "messages[1].content"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", MARK: 1}]}, None),
        ({"temperature": MARK}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [""]}, "stop[0]"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": MARK}}, "stream_options.include_usage"),
        ({"seed": 2**70}, "seed"),
        ({MARK: 1}, None),
        ({"tools": [{"type": MARK}]}, "tools"),
        ({"n": 2}, "n"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, None),
    ],
)
def test_a_bad_field_is_named_and_never_quoted(fields: dict[str, Any], param: str | None) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse(ChatRequest, chat(**fields))
    assert refusal.value.status == 422
    assert MARK not in json.dumps(refusal.value.body())
    assert param is None or (refusal.value.param or "").startswith(param)
    assert (refusal.value.param is None) == (param is None)


def test_another_model_is_not_found() -> None:
    with pytest.raises(UnknownModel) as refusal:
        parse(ChatRequest, chat(model=MARK))
    assert refusal.value.status == 404 and MARK not in str(refusal.value.body())


def test_the_cause_of_a_refusal_does_not_travel_either() -> None:
    with pytest.raises(RequestError) as refusal:
        parse(CompletionRequest, json.dumps({"prompt": {MARK: 1}}).encode())
    assert refusal.value.__suppress_context__ and refusal.value.__cause__ is None
