"""Putting the text that tokens stand for back into a model's answer, while it streams by.

    tokens = Tokens({"[[SHOP]]": "배민상회"})
    answer = restorer("text/event-stream", tokens)
    for chunk in chunks:
        send(answer.feed(chunk))
    send(answer.finish())

Bytes in, bytes out: however the answer is cut, the same bytes come out, and what holds no token
comes out as it went in. No I/O, no knowledge of Envoy. Not for compressed answers.

- `text/event-stream` and JSON (`application/json`, `…+json`): in every string; keys are left alone.
- Anything else passes untouched: in audio or an image a token's bytes would be chance.
"""

from __future__ import annotations

from typing import Protocol

from ext_proc.restore._json import Document, Stream, every_string
from ext_proc.restore._sse import SseRestorer
from ext_proc.restore._tokens import Tokens

__all__ = ["Restorer", "Tokens", "restorer"]


class Restorer(Protocol):
    """Restores one answer."""

    def feed(self, data: bytes) -> bytes:
        """The next bytes of the answer; returns what can be sent on now.

        Raises:
            AnswerUnreadable: the answer asks for more memory than it is given.
        """

    def finish(self) -> bytes:
        """The answer has ended; returns the rest. Nothing may be fed after it."""


def restorer(content_type: str, tokens: Tokens) -> Restorer:
    """For an answer with this `content-type` header."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/event-stream" and tokens:
        return SseRestorer(tokens)
    if (kind == "application/json" or kind.endswith("+json")) and tokens:
        return Stream(Document(every_string(tokens), tokens.stop.search))
    return _Untouched()


class _Untouched:
    __slots__ = ()

    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""
