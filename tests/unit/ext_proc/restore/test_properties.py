"""What holds for all answers, tokens and cuts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ext_proc.restore import Tokens
from tests.unit.ext_proc.restore.drive import JSON, SSE, chat, event, events, restore

LETTERS = '[]a가😀"\\/\n'  # few, so that tokens are hit and half hit
WORDS = st.text(LETTERS, max_size=8)
TOKENS = st.dictionaries(
    st.text(LETTERS, min_size=1, max_size=4),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    min_size=1,
    max_size=4,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
DUMPS = st.fixed_dictionaries({"ensure_ascii": st.booleans(), "indent": st.none() | st.just(1)})
CUTS = st.lists(st.integers(0, 2000), max_size=12)


def put_in(text: str, tokens: dict[str, str]) -> str:
    """The simplest way to do it, with all the text at hand."""
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), lambda found: tokens[found[0]], text)


def put_in_all(value: Any, tokens: dict[str, str]) -> Any:
    if isinstance(value, str):
        return put_in(value, tokens)
    if isinstance(value, list):
        return [put_in_all(item, tokens) for item in value]
    if isinstance(value, dict):
        return {key: put_in_all(item, tokens) for key, item in value.items()}
    return value


def delta(kind: str, text: str, index: int) -> dict[str, Any]:
    match kind:
        case "content":
            return chat({"content": text}, index)
        case "arguments":
            return chat({"tool_calls": [{"index": 0, "function": {"arguments": text}}]}, index)
        case "response":
            kind = "response.output_text.delta"
            return {"type": kind, "item_id": str(index), "delta": text}
    delta = {"type": "input_json_delta", "partial_json": text}
    return {"type": "content_block_delta", "index": index, "delta": delta}


@st.composite
def _frames(draw: st.DrawFn) -> bytes:
    kinds = st.sampled_from(["content", "arguments", "response", "partial_json"])
    value: object = delta(draw(kinds), draw(WORDS), draw(st.integers(0, 1)))
    if draw(st.booleans()):
        value = draw(
            VALUES
            | st.just({"type": "content_block_stop", "index": 0})
            | st.just(chat({}, 0, "stop"))
        )
    data = json.dumps(value, ensure_ascii=draw(st.booleans())).encode()
    other = st.sampled_from([b": [", b"data: [DONE]", b"event: e", b"\xff", b"data: " + data[:-1]])
    lines = draw(st.lists(other, max_size=1)) + [b"data: " + data] * draw(st.integers(0, 1))
    newline = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    return newline.join([*lines, b"", b""])


STREAMS = st.lists(_frames(), max_size=6).map(b"".join)
SCRAPS = st.sampled_from(
    [
        *(bytes([byte]) for byte in b'"[]{}:,\\a '),
        "가".encode(),
        "가".encode()[:2],
        b"\n",
        b"data: ",
    ]
) | st.sampled_from(
    [b'"[', b"\\\\", b'\\"', b"\\u", b"\\u005b", b"\\ud83d", b"\\ude00", b'"arguments":']
)
ANSWERS = STREAMS | st.lists(SCRAPS, max_size=20).map(b"".join)


@given(ANSWERS, st.sampled_from([SSE, JSON]), TOKENS, CUTS)
def test_cuts_change_nothing(
    data: bytes, kind: str, tokens: dict[str, str], cuts: list[int]
) -> None:
    whole = restore(data, kind, tokens)
    assert restore(data, kind, tokens, cuts) == whole
    assert restore(data, kind, tokens, range(len(data))) == whole


@given(STREAMS, TOKENS)
def test_what_is_passed_over_would_not_have_changed(data: bytes, tokens: dict[str, str]) -> None:
    passed = restore(data, SSE, tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tokens, "are_of_no_concern", lambda *_: False)
        patch.setattr(Tokens, "are_absent", lambda *_: False)
        assert restore(data, SSE, tokens) == passed


@given(VALUES, DUMPS, TOKENS, CUTS)
def test_a_document_has_every_string_restored(
    value: Any, dumps: dict[str, Any], tokens: dict[str, str], cuts: list[int]
) -> None:
    data = json.dumps(value, **dumps).encode()
    assert json.loads(restore(data, JSON, tokens, cuts)) == put_in_all(value, tokens)


@given(VALUES, DUMPS, DUMPS, TOKENS, CUTS)
def test_arguments_have_every_inner_string_restored(
    value: Any,
    inner: dict[str, Any],
    outer: dict[str, Any],
    tokens: dict[str, str],
    cuts: list[int],
) -> None:
    call = {"function": {"arguments": json.dumps(value, **inner)}, "other": 1.5}
    restored = json.loads(restore(json.dumps(call, **outer).encode(), JSON, tokens, cuts))
    assert json.loads(restored["function"]["arguments"]) == put_in_all(value, tokens)


@given(VALUES, DUMPS, TOKENS, CUTS)
def test_a_document_without_a_token_passes_byte_for_byte(
    value: Any, dumps: dict[str, Any], tokens: dict[str, str], cuts: list[int]
) -> None:
    assume(put_in_all(value, dict.fromkeys(tokens, "changed")) == value)
    data = json.dumps(value, **dumps).encode()
    assert restore(data, JSON, tokens, cuts) == data
    assert restore(b"data: 1\n\n" + event(value), SSE, tokens, cuts) == b"data: 1\n\n" + event(
        value
    )


@given(st.sampled_from(["content", "response"]), st.lists(WORDS), st.booleans(), TOKENS, CUTS)
def test_pieces_make_the_restored_text(
    kind: str, pieces: list[str], ascii_only: bool, tokens: dict[str, str], cuts: list[int]
) -> None:
    stream = b"".join(event(delta(kind, piece, 0), ensure_ascii=ascii_only) for piece in pieces)
    answer = events(restore(stream, SSE, tokens, cuts))
    assert "".join(map(_text, answer)) == put_in("".join(pieces), tokens)


@given(st.sampled_from(["arguments", "partial_json"]), VALUES, st.data(), TOKENS, CUTS)
def test_pieces_make_the_restored_json(
    kind: str, value: Any, data: st.DataObject, tokens: dict[str, str], cuts: list[int]
) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    ends = sorted({*data.draw(st.lists(st.integers(0, len(text)))), len(text)})
    pieces = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    stream = b"".join(event(delta(kind, piece, 0)) for piece in pieces)
    answer = events(restore(stream, SSE, tokens, cuts))
    assert json.loads("".join(map(_text, answer))) == put_in_all(value, tokens)


def _text(value: dict[str, Any]) -> str:
    """A piece of text, as a client finds it."""
    if "choices" not in value:
        found = value["delta"]
        return str(found if isinstance(found, str) else found["partial_json"])
    found = value["choices"][0]["delta"]
    return str(
        found["content"] if "content" in found else found["tool_calls"][0]["function"]["arguments"]
    )
