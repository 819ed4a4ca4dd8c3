"""Events of OpenAI's Responses API.

Events that repeat a whole text (`….done`, `response.completed`) hold no piece: there every string
is restored by itself. Only the kinds below are text; audio, for one, is not.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from ext_proc.restore._model import Event, Key, Piece, Reading, is_text

_NAME: Final = "responses"
_KINDS: Final = {
    "response.output_text": False,
    "response.refusal": False,
    "response.reasoning_text": False,
    "response.reasoning_summary_text": False,
    "response.custom_tool_call_input": False,
    "response.code_interpreter_call_code": False,
    "response.function_call_arguments": True,
    "response.mcp_call_arguments": True,
}
"""Whether the text is JSON."""
_ENDS: Final = frozenset(
    ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
)
_PLACE: Final = ("item_id", "output_index", "content_index", "summary_index")


def read(event: Event) -> Reading | None:
    kind = event.get("type")
    if not isinstance(kind, str) or not kind.startswith("response."):
        return None
    if kind in _ENDS:
        return Reading(ended=frozenset(((_NAME,),)))
    text, _, what = kind.rpartition(".")
    if text not in _KINDS:
        return Reading()
    key = (_NAME, text, *(_plain(event.get(name)) for name in _PLACE))
    if what == "delta" and is_text(event.get("delta")):
        return Reading((Piece(key, ("delta",), is_json=_KINDS[text]),))
    return Reading(ended=frozenset((key,))) if what == "done" else Reading()


def again(head: Event, key: Key, text: orjson.Fragment) -> Event:
    """Has the `sequence_number` of the event before; those that follow are not numbered anew."""
    more: dict[str, Any] = {"delta": text}
    if key[1] == "response.output_text":
        more["logprobs"] = []
    return {name: value for name, value in head.items() if name != "obfuscation"} | more


def _plain(value: object) -> str | int:
    if isinstance(value, str):
        return value if len(value) <= 1024 else hash(value)  # keys are kept
    return value if isinstance(value, int) else ""
