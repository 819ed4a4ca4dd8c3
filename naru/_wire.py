"""The gateway's HTTP shapes, both ways. Pure: no sockets, no sleeping; the clients do that.

A call is `POST /p/{proxy}` with `{"variables": …, "params": …, "stream": …}`; the answer is the
upstream's JSON, or its server-sent events. Errors are as OpenAI's: `{"error": {"message", …}}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from naru._sse import EventDecoder
from naru.errors import (
    ApiError,
    ConnectionLost,
    Forbidden,
    InvalidAnswer,
    InvalidRequest,
    NotFound,
    RateLimited,
    ServerError,
    Unauthorized,
    Unavailable,
    UpstreamFailed,
    UpstreamSlow,
)

_BY_STATUS: Mapping[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    429: RateLimited,
    502: UpstreamFailed,
    503: Unavailable,
    504: UpstreamSlow,
}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens, as the upstream counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """A whole answer. `raw` is the upstream's JSON; `text` is empty if it holds none."""

    text: str
    raw: Mapping[str, Any] = field(repr=False)
    request_id: str = ""
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one event of a stream adds. `done`: the stream has come to its proper end."""

    text: str = ""
    usage: Usage | None = None
    done: bool = False


def body(variables: Mapping[str, Any], params: Mapping[str, Any] | None, *, stream: bool) -> bytes:
    """The request body; `params` and `stream` only where they say something."""
    document: dict[str, Any] = {"variables": dict(variables)}
    if params:
        document["params"] = dict(params)
    if stream:
        document["stream"] = True
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()


def headers(key: str | None) -> dict[str, str]:
    found = {"content-type": "application/json"}
    return found | {"authorization": f"Bearer {key}"} if key else found


def result(content: bytes, request_id: str) -> Result:
    """The answer in a 2xx response.

    Raises:
        InvalidAnswer: it is not a JSON object.
    """
    raw = _object(content)
    if raw is None:
        raise InvalidAnswer("The answer is not a JSON object.")
    return Result(_text(raw, "message"), raw, request_id, _usage(raw))


def chunk(data: str) -> Chunk:
    """What one event's data means.

    Raises:
        ApiError: the upstream reports an error in the middle of the stream.
        InvalidAnswer: it is not a JSON object.
    """
    if data == "[DONE]":
        return Chunk(done=True)
    raw = _object(data.encode())
    if raw is None:
        raise InvalidAnswer("An event of the stream is not a JSON object.")
    if raw.get("error"):
        raise api_error(200, data.encode(), {})
    finished = any(choice.get("finish_reason") for choice in _choices(raw))
    return Chunk(_text(raw, "delta"), _usage(raw), finished)


class StreamReader:
    """The body of a streamed answer; that of an upstream that cannot stream is one JSON object."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._events = headers.get("content-type", "").startswith("text/event-stream")
        self._decoder = EventDecoder()
        self._whole = b""
        self._done = False

    def feed(self, data: bytes) -> Iterator[Chunk]:
        if not self._events:
            self._whole += data
            return
        for event in self._decoder.feed(data):
            found = chunk(event)
            self._done = self._done or found.done
            yield found

    def end(self) -> Iterator[Chunk]:
        """What is known only now.

        Raises:
            ConnectionLost: the events ended, but the answer had not.
        """
        if not self._events:
            whole = result(self._whole, "")
            yield Chunk(whole.text, whole.usage, done=True)
        elif not self._done:
            raise ConnectionLost("The stream ended before the answer did.")


def api_error(status: int, content: bytes, headers: Mapping[str, str]) -> ApiError:
    """The error that an answer reports, whatever its body looks like."""
    document = _object(content) or {}
    told = document.get("error")
    error = told if isinstance(told, dict) else {"message": told} if isinstance(told, str) else {}
    fallback = ServerError if status >= 500 or status < 400 else InvalidRequest
    return _BY_STATUS.get(status, fallback)(
        str(error.get("message") or f"The gateway answered with status {status}."),
        status=status,
        code=str(error.get("code") or ""),
        type=str(error.get("type") or ""),
        param=error.get("param"),
        request_id=headers.get("x-request-id", ""),
        retry_after=_seconds(headers.get("retry-after", "")),
    )


def _text(raw: Mapping[str, Any], part: str) -> str:
    """Chat (`message` or `delta`) and completion (`text`) of the first choice."""
    for choice in _choices(raw)[:1]:
        content = (choice.get(part) or {}).get("content", choice.get("text"))
        return content if isinstance(content, str) else ""
    return ""


def _choices(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = raw.get("choices")
    return [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []


def _usage(raw: Mapping[str, Any]) -> Usage | None:
    found = raw.get("usage")
    if not isinstance(found, dict):
        return None
    counts = {name: found.get(name) or 0 for name in Usage.__dataclass_fields__}
    return Usage(**counts)


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _seconds(text: str) -> float | None:
    return float(text) if text.isdecimal() else None
