"""Chunks of OpenAI's chat completions, and of the older completions.

Text is followed per choice and field. `reasoning_content` and `reasoning` are what vLLM, DeepSeek
and OpenRouter add.  https://platform.openai.com/docs/api-reference/chat-streaming/streaming
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeGuard

import orjson

from ext_proc.restore._model import Event, Key, Piece, Reading, is_text

_NAME: Final = "chat"
_FIELDS: Final = ("content", "refusal", "reasoning_content", "reasoning")


def read(event: Event) -> Reading | None:
    choices = event.get("choices")
    if not _are_objects(choices):
        return None
    pieces: list[Piece] = []
    ended: list[Key] = []
    for place, choice in enumerate(choices):
        index = _index(choice)
        pieces += _pieces(choice, (_NAME, index), ("choices", place))
        if choice.get("finish_reason") is not None:
            ended.append((_NAME, index))
    return Reading(tuple(pieces), frozenset(ended))


def again(head: Event, key: Key, text: orjson.Fragment) -> Event:
    _, index, field, *number = key
    if field == "text":
        more: dict[str, Any] = {"text": text, "logprobs": None}
    elif field == "tool_calls":
        call = {"index": number[0], "function": {"arguments": text}}
        more = {"delta": {"tool_calls": [call]}}
    elif field == "function_call":
        more = {"delta": {"function_call": {"arguments": text}}}
    else:
        more = {"delta": {field: text}}
    return {**head, "choices": [{"index": index, **more, "finish_reason": None}]}


def _pieces(choice: Event, key: Key, path: Key) -> Iterator[Piece]:
    if is_text(choice.get("text")):
        yield Piece((*key, "text"), (*path, "text"))
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return
    path = (*path, "delta")
    for field in _FIELDS:
        if is_text(delta.get(field)):
            yield Piece((*key, field), (*path, field))
    calls = delta.get("tool_calls")
    if _are_objects(calls):
        for place, call in enumerate(calls):
            own = (*path, "tool_calls", place, "function", "arguments")
            yield from _arguments(call.get("function"), (*key, "tool_calls", _index(call)), own)
    own = (*path, "function_call", "arguments")
    yield from _arguments(delta.get("function_call"), (*key, "function_call"), own)


def _arguments(function: object, key: Key, path: Key) -> Iterator[Piece]:
    if isinstance(function, dict) and is_text(function.get("arguments")):
        yield Piece(key, path, is_json=True)


def _index(item: Event) -> int:
    index = item.get("index")
    return index if isinstance(index, int) and 0 <= index < 1 << 31 else 0


def _are_objects(value: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
