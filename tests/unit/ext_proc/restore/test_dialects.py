"""Each way to stream text: a token over two events, text let go at the end, and whole texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.unit.ext_proc.restore.drive import SHOP, bytewise, chat, event, events, restore

Maker = Callable[[str], dict[str, Any]]


class Way(NamedTuple):
    """How an event carries a piece of text, and which event ends the text."""

    piece: Maker
    end: dict[str, Any]
    is_json: bool = False


def call(piece: str) -> dict[str, Any]:
    return chat({"tool_calls": [{"index": 3, "function": {"arguments": piece}}]}, 1)


def completion(piece: str) -> dict[str, Any]:
    choice = {"index": 1, "text": piece, "logprobs": None, "finish_reason": None}
    return {"object": "text_completion", "choices": [choice]}


def responses(kind: str, **more: Any) -> tuple[Maker, dict[str, Any]]:
    place = {"item_id": "i-1", "output_index": 0, "content_index": 2}
    end = {"type": f"{kind}.done", **place}
    return lambda piece: {"type": f"{kind}.delta", **place, "delta": piece, **more}, end


def block(kind: str, field: str) -> tuple[Maker, dict[str, Any]]:
    def make(piece: str) -> dict[str, Any]:
        delta = {"type": kind, field: piece}
        return {"type": "content_block_delta", "index": 1, "delta": delta}

    return make, {"type": "content_block_stop", "index": 1}


STOP = chat({}, 1, "stop")
WAYS = {
    "chat content": Way(lambda piece: chat({"content": piece}, 1), STOP),
    "chat refusal": Way(lambda piece: chat({"refusal": piece}, 1), STOP),
    "chat reasoning_content": Way(lambda piece: chat({"reasoning_content": piece}, 1), STOP),
    "chat reasoning": Way(lambda piece: chat({"reasoning": piece}, 1), STOP),
    "chat tool call": Way(call, STOP, True),
    "chat function call": Way(lambda p: chat({"function_call": {"arguments": p}}, 1), STOP, True),
    "completion": Way(completion, {"choices": [{"index": 1, "text": "", "finish_reason": "stop"}]}),
    "responses text": Way(*responses("response.output_text", logprobs=[])),
    "responses refusal": Way(*responses("response.refusal")),
    "responses reasoning": Way(*responses("response.reasoning_text")),
    "responses summary": Way(*responses("response.reasoning_summary_text")),
    "responses tool input": Way(*responses("response.custom_tool_call_input")),
    "responses code": Way(*responses("response.code_interpreter_call_code")),
    "responses arguments": Way(*responses("response.function_call_arguments"), True),
    "responses mcp": Way(*responses("response.mcp_call_arguments"), True),
    "anthropic text": Way(*block("text_delta", "text")),
    "anthropic thinking": Way(*block("thinking_delta", "thinking")),
    "anthropic input": Way(*block("input_json_delta", "partial_json"), True),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@ways
def test_a_token_over_events(way: Way) -> None:
    first, last = ('{"q": "a [[SH', 'OP]]"}') if way.is_json else ("a [[SH", "OP]]!")
    held = '{"q": "a ' if way.is_json else "a "
    rest = json.dumps(SHOP, ensure_ascii=False)[1:] + "}" if way.is_json else SHOP + "!"
    stream = event(way.piece(first), "n") + event(way.piece(last), "n") + event(way.end)
    restored = event(way.piece(held), "n") + event(way.piece(rest), "n") + event(way.end)
    assert restore(stream) == bytewise(stream) == restored


@ways
def test_what_was_held_back_comes_before_the_end_of_the_text(way: Way) -> None:
    text = '{"q": "a [[SH' if way.is_json else "a [[SH"
    stream = event(way.piece(text), "n") + event(way.end, "end")
    assert restore(stream) == bytewise(stream)
    first, more, end = events(restore(stream))
    assert first == way.piece(text.removesuffix("[[SH"))
    assert more == way.piece("[[SH")
    assert end == way.end
    assert restore(stream).count(b"event: n\n") == 2


@ways
@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b"", event({"error": {"message": "x"}})])
def test_every_text_ends_with_the_stream(way: Way, end: bytes) -> None:
    stream = event(way.piece('{"q": "[' if way.is_json else "["))
    restored = restore(stream + end)
    assert restored == bytewise(stream + end)
    assert restored.endswith(end)
    assert events(restored)[1] == way.piece("[")


@ways
def test_a_stream_that_breaks_off_within_an_event(way: Way) -> None:
    stream = event(way.piece('{"q": "[[SH' if way.is_json else "[[SH"))
    for ending in (b"\n\n", b"\n", b""):
        cut = stream.removesuffix(b"\n\n") + ending
        assert bytewise(cut) == restore(cut)
        assert ending or restore(cut) == cut


def test_choices_and_fields_are_texts_of_their_own() -> None:
    stream = b"".join(
        event(value)
        for value in (
            chat({"content": "[[SH"}, 0),
            chat({"content": "OP]]"}, 1),
            chat({"reasoning": "[[SH"}, 0),
            chat({"content": "OP]]"}, 0),
            chat({}, 1, "stop"),
            chat({"reasoning": "OP]]"}, 0),
        )
    )
    deltas = [value["choices"][0]["delta"] for value in events(restore(stream))]
    expected: list[dict[str, str]] = [{"content": ""}, {"content": "OP]]"}, {"reasoning": ""}]
    assert deltas == [*expected, {"content": SHOP}, {}, {"reasoning": SHOP}]


def test_many_pieces_in_one_event() -> None:
    first = chat({"content": "[[SH", "reasoning": "[[SHOP]]"})
    first["choices"] += chat({"content": "[[SHOP"}, 1)["choices"]
    second = chat({"content": "OP]]"})
    second["choices"] += chat({"content": "]]"}, 1)["choices"]
    one, two = (value["choices"] for value in events(restore(event(first) + event(second))))
    assert [choice["delta"] for choice in one] == [
        {"content": "", "reasoning": SHOP},
        {"content": ""},
    ]
    assert [choice["delta"] for choice in two] == [{"content": SHOP}, {"content": SHOP}]


def test_a_text_that_ends_in_the_event_of_its_last_piece() -> None:
    stream = event(chat({"content": "a [["})) + event(chat({"content": "SH"}, finish="stop"))
    first, last = events(restore(stream))
    assert first == chat({"content": "a "})
    assert last == chat({"content": "[[SH"}, finish="stop")


@pytest.mark.parametrize(
    "value",
    [
        {"type": "response.output_text.done", "item_id": "i", "text": "[[SHOP]]"},
        {
            "type": "response.completed",
            "response": {"output": [{"content": [{"text": "[[SHOP]]"}]}]},
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": "[[SHOP]]"},
        },
        {"candidates": [{"content": {"parts": [{"text": "[[SHOP]]"}]}}]},
        ["[[SHOP]]"],
    ],
)
def test_whole_texts_are_restored(value: object) -> None:
    restored = json.loads(json.dumps(value).replace("[[SHOP]]", SHOP.replace('"', r"\"")))
    assert events(restore(event(value))) == [restored]


def test_whole_arguments_are_restored_as_json() -> None:
    item = {"type": "function_call", "arguments": '{"q": "[[SHOP]]"}'}
    stream = event({"type": "response.output_item.done", "item": item})
    [value] = events(restore(stream))
    assert json.loads(value["item"]["arguments"]) == {"q": SHOP}


@pytest.mark.parametrize(
    "value",
    [
        {"choices": "[["},
        {"choices": [None, {"delta": {"content": "[["}}]},
        {"choices": [{"delta": []}]},
        {
            "choices": [
                {"delta": {"content": ["[["], "tool_calls": [{"function": None}], "x": "[["}}
            ]
        },
        {"type": "response.output_text.delta", "delta": None, "x": "["},
        {"type": "response.audio.delta", "delta": "[[SH"},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "signature_delta", "signature": "[["},
        },
        {"type": 1, "x": "[["},
        "[[",
    ],
)
def test_nothing_else_is_held_back(value: object) -> None:
    assert restore(event(value)) == bytewise(event(value)) == event(value)


def test_strings_beside_a_piece_are_restored_too() -> None:
    stream = event(chat({"content": "[[SHOP"}) | {"model": "[[SHOP]]"}) + event(
        chat({"content": "]]"})
    )
    first, last = events(restore(stream))
    assert first == chat({"content": ""}) | {"model": SHOP}
    assert last == chat({"content": SHOP})


def test_the_same_key_elsewhere_is_no_piece() -> None:
    last = {"beside": {"content": "!"}} | chat({"content": "]]"})
    answer = events(restore(event(chat({"content": "[[SHOP"})) + event(last)))
    assert answer[1] == {"beside": {"content": "!"}} | chat({"content": SHOP})


@pytest.mark.parametrize(
    "choice",
    [
        r'{"delta": {"c\u006fntent": "[[SHOP"}}',
        r'{"x": {"content": "[["}, "delta": {"content": "[[SHOP"}}',
        r'{"x": "a \"content\": \"[[", "delta": {"content" : "[[SHOP"}}',
        r'{"x\"content": "[[", "delta": {"content": "[[SHOP"}}',
        r'{"x": "content", "delta": {"content":"[[SHOP"}}',
    ],
)
def test_a_piece_is_found_wherever_it_stands(choice: str) -> None:
    first = f'data: {{"choices": [{choice}]}}\n\n'.encode()
    stream = first + event(chat({"content": "]]"}))
    restored = first.replace(b"[[SHOP", b"") + event(chat({"content": SHOP}))
    assert restore(stream) == bytewise(stream) == restored
