"""What the wire shapes and the engine say to each other: plain values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Generation:
    """A text to continue, and how. `seed=None` is a new one each time.

    `plain` holds a small base model to plain prose: no HTML, no loops, no unlikely tokens.
    """

    prompt: str
    max_tokens: int
    temperature: float
    top_p: float
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the model's own tokenizer counts them; `cached` is a part of `prompt`."""

    prompt: int
    completion: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """Some more text. Never half a character."""

    text: str


@dataclass(frozen=True, slots=True)
class End:
    """The last event of every generation that did not fail."""

    finish_reason: FinishReason
    usage: Usage
