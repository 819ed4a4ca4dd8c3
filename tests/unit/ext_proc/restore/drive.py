"""Feeding a restorer, and reading what a client would make of its events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ext_proc.restore import Tokens, restorer

SHOP = '배민상회 "본점"'
TOKENS = {"[[SHOP]]": SHOP}
SSE = "text/event-stream"
JSON = "application/json"


def restore(
    data: bytes,
    kind: str = SSE,
    tokens: Mapping[str, str] = TOKENS,
    cuts: Iterable[int] = (),
) -> bytes:
    """The restored answer, fed in pieces that end at `cuts`."""
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)})
    starts = [0, *ends]
    answer = restorer(kind, Tokens(tokens))
    parts = [answer.feed(data[start:end]) for start, end in zip(starts, ends, strict=False)]
    return b"".join([*parts, answer.finish()])


def bytewise(data: bytes, kind: str = SSE, tokens: Mapping[str, str] = TOKENS) -> bytes:
    return restore(data, kind, tokens, range(len(data)))


def event(value: object, name: str = "", **dumps: Any) -> bytes:
    data = json.dumps(value, **{"ensure_ascii": False, **dumps}).encode()
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + data + b"\n\n"


def events(stream: bytes) -> list[Any]:
    """The data of a stream's events; what is no JSON as bytes."""
    found = []
    for block in stream.split(b"\n\n"):
        for line in block.split(b"\n"):
            if line.startswith(b"data: "):
                data = line.removeprefix(b"data: ")
                found.append(data if data == b"[DONE]" else json.loads(data))
    return found


def chat(delta: Mapping[str, Any], index: int = 0, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "c-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
