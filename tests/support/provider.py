"""A stand-in for an outside provider, as strict as the real one, that records what it received.

It speaks OpenAI's chat completions, checks the bearer token, the content type and the shape of the
body, and refuses fields that OpenAI does not know. Its answer says what it was asked, so that a
caller's view can be compared with the provider's.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.support.certificates import Served

_PARAMS: Final = frozenset({
    "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens",
    "metadata", "n", "parallel_tool_calls", "presence_penalty", "response_format", "seed", "stop",
    "store", "stream", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs",
    "top_p", "user",
})  # fmt: skip
_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def contents(self) -> list[str]:
        return [message["content"] for message in self.body["messages"]]


@dataclass
class Provider:
    """What a test sees: the address, the key that is right, and what came.

    Attributes:
        keep: whether to record (a load test turns it off).
        tls: whether it speaks HTTPS.
        asked_for: the server name (SNI) of every TLS handshake.
    """

    port: int
    key: str = "sk-provider-canary"
    received: list[Received] = field(default_factory=list)
    keep: bool = True
    tls: bool = False
    asked_for: list[str | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.url_at("127.0.0.1")

    def url_at(self, host: str) -> str:
        """Its URL by another name."""
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/base/v1"

    def by_request_id(self, request_id: str) -> Received:
        (found,) = [r for r in self.received if r.headers.get("x-request-id") == request_id]
        return found


@contextmanager
def running_provider(
    key: str = "sk-provider-canary", served: Served | None = None
) -> Iterator[Provider]:
    """A provider on a free port of loopback, for as long as the block lasts.

    With a certificate (`served`) it speaks HTTPS.
    """
    provider = Provider(0, key, tls=served is not None)
    config = uvicorn.Config(
        _app(provider), host="127.0.0.1", port=0, log_level="error", timeout_keep_alive=75,
        ssl_certfile=None if served is None else served.certificate,
        ssl_keyfile=None if served is None else served.key,
    )  # fmt: skip
    config.load()
    if config.ssl is not None:
        config.ssl.sni_callback = lambda _socket, name, _context: provider.asked_for.append(name)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the provider did not start"
        threading.Event().wait(0.01)
    provider.port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join(10)


def _app(provider: Provider) -> Starlette:
    async def chat(request: Request) -> Response:
        return await _chat(provider, request)

    return Starlette(routes=[Route("/base/v1/chat/completions", chat, methods=["POST"])])


async def _chat(provider: Provider, request: Request) -> Response:
    if request.headers.get("authorization") != f"Bearer {provider.key}":
        return _error(401, "invalid_api_key", "Incorrect API key provided.")
    if request.headers.get("content-type") != "application/json":
        return _error(415, "unsupported_content_type", "Unsupported content type.")
    try:
        body = json.loads(await request.body())
    except ValueError:
        return _error(400, "invalid_json", "We could not parse the JSON body of your request.")
    if provider.keep:
        provider.received.append(Received(request.url.path, dict(request.headers), body))
    if wrong := _what_is_wrong(body):
        return _error(400, "invalid_request", wrong)
    if body.get("stream"):
        return StreamingResponse(_events(body), media_type="text/event-stream")
    return JSONResponse(_completion(body))


def _what_is_wrong(body: Any) -> str | None:
    if not isinstance(body, dict):
        return "The body is not an object."
    if unknown := body.keys() - _PARAMS - {"model", "messages"}:
        return f"Unrecognized request argument supplied: {sorted(unknown)}"
    if not isinstance(body.get("model"), str):
        return "you must provide a model parameter"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "'messages' must be a list that is not empty"
    for message in messages:
        if message.get("role") not in _ROLES or not isinstance(message.get("content"), (str, list)):
            return "a message is not valid"
    return None


def _text(body: dict[str, Any]) -> str:
    return " | ".join(str(message["content"]) for message in body["messages"])


def _completion(body: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": _text(body)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return _envelope(body, "chat.completion") | {
        "choices": [choice],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    }


async def _events(body: dict[str, Any]) -> Any:
    for piece in _text(body).split(" "):
        delta = {"index": 0, "delta": {"content": piece + " "}, "finish_reason": None}
        yield _event(_envelope(body, "chat.completion.chunk") | {"choices": [delta]})
        await asyncio.sleep(0)
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield _event(_envelope(body, "chat.completion.chunk") | {"choices": [end]})
    yield b"data: [DONE]\n\n"


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def _envelope(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": body["model"]}


def _error(status: int, code: str, message: str) -> JSONResponse:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return JSONResponse({"error": error}, status_code=status)
