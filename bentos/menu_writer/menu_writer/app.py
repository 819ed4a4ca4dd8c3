"""The HTTP side: three endpoints of OpenAI's API. FastAPI, because BentoML puts a mounted FastAPI
application into the bento's own OpenAPI document.

`build_app` starts nothing; `attach` gives it the token and the engine once these exist.
"""

from __future__ import annotations

import time
import uuid

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from .answers import ChatShape, CompletionShape, Head, Shape, model_list
from .auth import RequireToken, Token
from .engine import Engine
from .errors import BodyTooLarge, RequestError, ServiceError
from .openapi import ERRORS, body_of
from .requests import ChatRequest, CompletionRequest, parse
from .response import Answer, error_response

MAX_BODY_BYTES = 1 << 20


class UnknownPath(RequestError):
    status = 404
    code = "not_found"
    message = "There is no such endpoint, or not with this method."


def build_app(version: str) -> FastAPI:
    app = FastAPI(title="menu_writer", version=version, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(RequireToken)
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_api_route("/v1/models", _models, methods=["GET"], responses=ERRORS)
    app.add_api_route(
        "/v1/chat/completions", _chat, methods=["POST"], responses=ERRORS, openapi_extra=body_of(ChatRequest)
    )
    app.add_api_route(
        "/v1/completions",
        _complete,
        methods=["POST"],
        responses=ERRORS,
        openapi_extra=body_of(CompletionRequest),
    )
    app.add_api_route("/v1/{rest:path}", _nothing, methods=_ALL_METHODS, include_in_schema=False)
    return app


def attach(app: FastAPI, token: Token, engine: Engine) -> None:
    """From here on requests are admitted and answered."""
    app.state.started = int(time.time())
    app.state.engine = engine
    app.state.token = token


_ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


async def _models(request: Request) -> JSONResponse:
    """The one model."""
    return JSONResponse(model_list(request.app.state.started))


async def _chat(request: Request) -> Response:
    """Continue a conversation."""
    asked = parse(ChatRequest, await _read(request))
    head = _head("chatcmpl", asked)
    return _answer(request, asked, ChatShape(head))


async def _complete(request: Request) -> Response:
    """Continue a text."""
    asked = parse(CompletionRequest, await _read(request))
    head = _head("cmpl", asked)
    return _answer(request, asked, CompletionShape(head))


async def _nothing(rest: str) -> Response:
    raise UnknownPath()


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return error_response(error)


def _head(prefix: str, asked: ChatRequest | CompletionRequest) -> Head:
    streams_usage = bool(asked.stream) and asked.wants_usage
    return Head(f"{prefix}-{uuid.uuid4().hex}", int(time.time()), streams_usage)


def _answer(request: Request, asked: ChatRequest | CompletionRequest, shape: Shape) -> Answer:
    engine: Engine = request.app.state.engine
    events = engine.generate(asked.to_generation())
    return Answer(shape, events, stream=bool(asked.stream), usage=asked.wants_usage)


async def _read(request: Request) -> bytes:
    """The body, read no further than the limit."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge()
    return bytes(body)
