"""Chat messages → one prompt for a *base* model.

Gemma 3 270M here is the pre-trained model: it has never seen a chat template and continues text. What
it continues well is a transcript with a regular form, so that is what it gets:

    <system text>

    User: <text>
    Assistant: <text>

    User: <text>
    Assistant:

Earlier user/assistant pairs are its few-shot examples. A last message by the assistant is continued.
The model ends its turn by starting the next one, which is why `STOPS` belongs to every such prompt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "developer", "user", "assistant"]

USER = "User:"
ASSISTANT = "Assistant:"
STOPS = ("\n\n", f"\n{USER}", f"\n{ASSISTANT}")

_LABEL = re.compile(rf"^(?=(?:{USER}|{ASSISTANT}))", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message; `text` is what its text parts say, joined."""

    role: Role
    text: str


def build_prompt(messages: Sequence[Message]) -> str:
    """The transcript of `messages`, ending where the assistant is to write on.

    A blank line ends a turn, so blank lines inside a turn become line breaks, and a line that starts
    like a label is indented: text in one turn cannot pose as another. System text stays as it is.
    """
    blocks: list[str] = []
    for message in messages:
        if message.role == "assistant" and blocks:
            blocks[-1] += f"\n{ASSISTANT} {_clean(message.text)}"
        else:
            blocks.append(_block(message))
    if messages[-1].role != "assistant":
        blocks[-1] += f"\n{ASSISTANT}"
    return "\n\n".join(blocks)


def _block(message: Message) -> str:
    match message.role:
        case "user":
            return f"{USER} {_clean(message.text)}"
        case "assistant":
            return f"{ASSISTANT} {_clean(message.text)}"
        case _:
            return message.text.strip()


def _clean(text: str) -> str:
    return _LABEL.sub(" ", _BLANK_LINES.sub("\n", text.replace("\r\n", "\n").strip()))
