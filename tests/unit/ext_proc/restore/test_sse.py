from __future__ import annotations

import itertools
import json

import pytest

from ext_proc.errors import AnswerUnreadable
from ext_proc.restore import Tokens, restorer
from ext_proc.restore._sse import MAX_EVENT
from ext_proc.restore._texts import MAX_TEXTS
from tests.unit.ext_proc.restore.drive import (
    SHOP,
    SSE,
    TOKENS,
    bytewise,
    chat,
    event,
    events,
    restore,
)

HOLDS = json.dumps(chat({"content": "a [[SH"})).encode()
GOES_ON = json.dumps(chat({"content": "OP]]"})).encode()
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("space", [b"", b" "])
def test_ways_to_write_events(newline: bytes, bom: bytes, space: bytes) -> None:
    fields = [b": hello", b"id: 7", b"event: e", b"data:" + space + HOLDS, b"retry: 5", b"", b""]
    stream = bom + newline.join(fields) + b"data:" + space + GOES_ON + newline * 2
    expected = stream.replace(b"[[SH", b"").replace(
        b"OP]]", json.dumps(SHOP, ensure_ascii=False).encode()[1:-1]
    )
    assert restore(stream) == bytewise(stream) == expected


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_a_new_event_is_written_like_the_last_one(newline: bytes) -> None:
    stream = b"id: 7" + newline + b"event: e" + newline + b"data:" + HOLDS + newline * 2
    restored = restore(stream)
    assert restored == bytewise(stream)
    added = restored[len(stream) - len("[[SH") :]
    assert added.startswith(b"event: e" + newline + b"data: {")
    assert added.endswith(b"}" + newline * 2)
    assert b"id: 7" not in added


def test_data_in_several_lines() -> None:
    lines = json.dumps(chat({"content": "[[SHOP]]"}), indent=1).split("\n")
    stream = "".join(f"data: {line}\n" for line in lines).encode() + b": end\n\n"
    expected = stream.replace(b"[[SHOP]]", json.dumps(SHOP, ensure_ascii=False).encode()[1:-1])
    assert restore(stream) == bytewise(stream) == expected


@pytest.mark.parametrize(
    "between",
    [
        b": ping\n\n",
        b"\n\n\n",
        b"event: ping\n\n",
        b"data\n\n",
        b'data: {"[[SHOP]]\n\n',
        b"data: \xff[[\n\n",
    ],
)
def test_what_is_no_json_passes_and_ends_nothing(between: bytes) -> None:
    stream = b"data: " + HOLDS + b"\n\n" + between + b"data: " + GOES_ON + b"\n\n"
    restored = restore(stream)
    assert restored == bytewise(stream)
    assert between in restored
    assert restored.endswith(event(chat({"content": SHOP})))


def test_half_a_surrogate_pair_is_read() -> None:
    half = b'data: {"choices": [{"index": 0, "delta": {"content": "\\ud83d [[SH"}}]}\n\n'
    assert restore(half + DONE).startswith(half.replace(b"[[SH", b""))
    assert len(events(restore(half + DONE))) == 3


def test_events_are_sent_when_they_are_complete() -> None:
    answer = restorer(SSE, Tokens(TOKENS))
    plain, more = event(chat({"content": "plain"})), event(chat({"content": "[[SHOP]]"}))
    assert answer.feed(plain + more[:40]) == plain
    assert answer.feed(more[40:-1]) == b""
    assert answer.feed(more[-1:]) == event(chat({"content": SHOP}))
    assert answer.feed(plain) == plain
    assert answer.finish() == b""


@pytest.mark.parametrize("size", [60_000, MAX_EVENT, 2 * MAX_EVENT])
def test_an_event_that_is_too_long(size: int) -> None:
    stream = b": " + b"x" * (MAX_EVENT - 2)
    assert _fed(stream + b"\n\n", size) == stream + b"\n\n"
    with pytest.raises(AnswerUnreadable):
        _fed(stream + b"x\n\n", size)


def _fed(data: bytes, size: int) -> bytes:
    answer = restorer(SSE, Tokens(TOKENS))
    parts = [answer.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return b"".join(parts) + answer.finish()


def test_too_many_texts_at_once() -> None:
    texts = [event(chat({"content": "["}, index)) for index in range(MAX_TEXTS + 1)]
    restore(b"".join(texts[:-1]))
    with pytest.raises(AnswerUnreadable):
        restore(b"".join(texts))


def test_texts_that_hold_nothing_back_are_forgotten() -> None:
    texts = itertools.chain.from_iterable(
        (event(chat({"content": "["}, index)), event(chat({"content": "x"}, index)))
        for index in range(2 * MAX_TEXTS)
    )
    assert len(events(restore(b"".join(texts)))) == 4 * MAX_TEXTS


def test_a_large_event_is_not_repeated() -> None:
    value = chat({"content": "["}) | {"large": "x" * 5000, "usage": {"total_tokens": 1}}
    first, more = events(restore(event(value)))
    assert first["large"] == "x" * 5000
    assert more == chat({"content": "["})
