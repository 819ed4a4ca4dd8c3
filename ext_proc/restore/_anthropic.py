"""Events of Anthropic's Messages API: text is followed per content block and field.

Signatures and citations are no pieces.  https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

from typing import Final

import orjson

from ext_proc.restore._model import Event, Key, Piece, Reading, is_text

_NAME: Final = "anthropic"
_DELTAS: Final = {
    "text": "text_delta",
    "thinking": "thinking_delta",
    "partial_json": "input_json_delta",
}


def read(event: Event) -> Reading | None:
    index = event.get("index")
    match event.get("type"):
        case "content_block_delta" if isinstance(index, int):
            delta = event.get("delta")
            fields = delta if isinstance(delta, dict) else {}
            return Reading(
                tuple(
                    Piece((_NAME, index, field), ("delta", field), is_json=field == "partial_json")
                    for field in _DELTAS
                    if is_text(fields.get(field))
                )
            )
        case "content_block_stop" if isinstance(index, int):
            return Reading(ended=frozenset(((_NAME, index),)))
        case "message_delta" | "message_stop":
            return Reading(ended=frozenset(((_NAME,),)))
    return None


def again(head: Event, key: Key, text: orjson.Fragment) -> Event:
    field = str(key[2])
    return {**head, "delta": {"type": _DELTAS[field], field: text}}
