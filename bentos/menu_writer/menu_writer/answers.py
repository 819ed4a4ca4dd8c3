"""The answers: OpenAI's objects, whole and in chunks. Pure; the id and the time come from outside.

https://platform.openai.com/docs/api-reference/chat/object and …/chat/streaming
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from .generation import FinishReason, Usage
from .settings import MODEL_NAME
from .trim import Trimmer

Document = dict[str, Any]


class Shape(Protocol):
    """One API's way to say the same things. An instance serves one answer."""

    def text(self, piece: str) -> str:
        """What of the model's text belongs to the answer."""

    def whole(self, text: str, reason: FinishReason, usage: Usage) -> Document: ...

    def opening(self) -> list[Document]:
        """The chunks before any text."""

    def chunk(self, text: str) -> Document: ...

    def ending(self, reason: FinishReason) -> Document: ...

    def usage(self, usage: Usage) -> Document:
        """The chunk that `stream_options.include_usage` asks for."""


@dataclass(frozen=True, slots=True)
class Head:
    """What all chunks of one answer share. `created` is in seconds since 1970."""

    id: str
    created: int
    usage_in_chunks: bool

    def document(self, kind: str, choices: list[Document]) -> Document:
        head: Document = {"id": self.id, "object": kind, "created": self.created, "model": MODEL_NAME}
        head["choices"] = choices
        return head | ({"usage": None} if self.usage_in_chunks else {})


class ChatShape:
    """`chat.completion` and `chat.completion.chunk`."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._trimmer = Trimmer()

    def text(self, piece: str) -> str:
        return self._trimmer.feed(piece)

    def whole(self, text: str, reason: FinishReason, usage: Usage) -> Document:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return self._head.document("chat.completion", [choice]) | {"usage": usage_document(usage)}

    def opening(self) -> list[Document]:
        return [self._chunk({"role": "assistant", "content": ""}, None)]

    def chunk(self, text: str) -> Document:
        return self._chunk({"content": text}, None)

    def ending(self, reason: FinishReason) -> Document:
        return self._chunk({}, reason)

    def usage(self, usage: Usage) -> Document:
        return self._head.document("chat.completion.chunk", []) | {"usage": usage_document(usage)}

    def _chunk(self, delta: Document, reason: FinishReason | None) -> Document:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._head.document("chat.completion.chunk", [choice])


class CompletionShape:
    """`text_completion`, whole and in chunks: the same object."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def text(self, piece: str) -> str:
        return piece

    def whole(self, text: str, reason: FinishReason, usage: Usage) -> Document:
        return self._document(text, reason) | {"usage": usage_document(usage)}

    def opening(self) -> list[Document]:
        return []

    def chunk(self, text: str) -> Document:
        return self._document(text, None)

    def ending(self, reason: FinishReason) -> Document:
        return self._document("", reason)

    def usage(self, usage: Usage) -> Document:
        return self._head.document("text_completion", []) | {"usage": usage_document(usage)}

    def _document(self, text: str, reason: FinishReason | None) -> Document:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
        return self._head.document("text_completion", [choice])


def usage_document(usage: Usage) -> Document:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }


def model_list(created: int) -> Document:
    """The answer of `GET /v1/models`."""
    model = {"id": MODEL_NAME, "object": "model", "created": created, "owned_by": "menu-writer"}
    return {"object": "list", "data": [model]}
