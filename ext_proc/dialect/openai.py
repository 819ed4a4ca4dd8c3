"""OpenAI's API, which most model servers speak, and the simplified request.

- `/p/{proxy}`: `{"variables": {…}, "params": {…}, "stream": false}`
- `/p/{proxy}/v1/…` and `/v1/…`: as OpenAI's clients send it, with the variables of the proxy's
  template in the field `variables`.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from ext_proc.dialect import _body
from ext_proc.dialect._model import Proxy, Request
from ext_proc.errors import (
    InvalidRequest,
    ParamNotAllowed,
    TemplateRequired,
    UnsupportedEndpoint,
)
from ext_proc.template import Template

CHAT: Final = "chat/completions"
COMPLETIONS: Final = "completions"
_FIELDS: Final = {
    CHAT: frozenset(("model", "messages", "stream", "stream_options", "variables")),
    COMPLETIONS: frozenset(("model", "prompt", "stream", "stream_options", "variables")),
}
"""Fields of the body that are no params."""
_OTHER_FIELDS: Final = frozenset(("model", "messages", "prompt", "input", "stream"))
"""The same, of endpoints that are passed on as they are."""
_ENDPOINT: Final = re.compile(r"[A-Za-z0-9_.:-]+(/[A-Za-z0-9_.:-]+)*")
"""Written in one way only, so that no upstream takes one endpoint for another."""
_RUN_FIELDS: Final = frozenset(("variables", "params", "stream"))
_NEVER_PARAMS: Final = frozenset(("model", "messages", "prompt", "stream", "variables"))


def rewrite(proxy: Proxy, request: Request) -> bytes:
    """The body for the upstream: a chat completion, or what the caller sent with params set."""
    endpoint = _endpoint(proxy, request.path)
    if endpoint == "":
        return _body.write(_run(proxy, request))
    if proxy.template is not None and endpoint != CHAT:
        raise _elsewhere(proxy)
    body = _body.read(request.body, request.content_type, _body.JSON)
    if endpoint in _FIELDS:
        body = _completion(proxy, body, _FIELDS[endpoint], len(request.body))
    elif proxy.allow_params is not None:
        _allow(proxy, body.keys() - _OTHER_FIELDS)
    return _body.write(_with_model(proxy, body))


def _endpoint(proxy: Proxy, path: str) -> str:
    """The part of the path after `/v1/`; the empty string for the simplified request."""
    path = path.partition("?")[0].partition("#")[0]
    own = f"/p/{proxy.name}"
    if path == own:
        return ""
    path = path.removeprefix(own)
    endpoint = path.removeprefix("/v1/")
    if endpoint == path or not _ENDPOINT.fullmatch(endpoint):
        raise _elsewhere(proxy)
    return endpoint


def _elsewhere(proxy: Proxy) -> UnsupportedEndpoint:
    chat = f"/p/{proxy.name}/v1/{CHAT}"
    if proxy.template is None:
        return UnsupportedEndpoint(f"Send this to an endpoint under /p/{proxy.name}/v1/.")
    return UnsupportedEndpoint(
        f"This proxy has a prompt template: call POST /p/{proxy.name} or POST {chat}."
    )


def _run(proxy: Proxy, request: Request) -> dict[str, Any]:
    """The simplified request."""
    body = _body.read(request.body, request.content_type, _body.JSON_OR_NONE)
    if proxy.template is None:
        raise TemplateRequired(
            f"This proxy has no prompt template: call POST /p/{proxy.name}/v1/{CHAT}."
        )
    if not body.keys() <= _RUN_FIELDS:
        raise InvalidRequest("The body takes the fields variables, params and stream.")
    params = _body.take(body, "params", dict, {})
    _allow(proxy, params)
    variables = _body.take(body, "variables", dict, {})
    result = {
        **proxy.params,
        **params,
        "messages": proxy.template.render(variables, len(request.body)),
    }
    if "stream" in body:
        result["stream"] = _body.take(body, "stream", bool, False)
    return _with_model(proxy, result)


def _completion(
    proxy: Proxy, body: dict[str, Any], fields: frozenset[str], size: int
) -> dict[str, Any]:
    """A request of an OpenAI client, with the template's messages before the caller's."""
    _allow(proxy, body.keys() - fields)
    variables = _body.take(body, "variables", dict, {})
    if "stream" in body:
        body["stream"] = _body.take(body, "stream", bool, False)
    if "model" in body:
        body["model"] = _body.take(body, "model", str, "")
    if "messages" in body:
        body["messages"] = _messages(body)
    if proxy.template is not None:
        body["messages"] = _rendered(proxy.template, variables, body, size)
    elif variables:
        raise TemplateRequired("This proxy has no prompt template, so it takes no variables.")
    return {**proxy.params, **body}


def _rendered(
    template: Template, variables: dict[str, Any], body: dict[str, Any], size: int
) -> list[Any]:
    return [*template.render(variables, size), *body.get("messages", ())]


def _messages(body: dict[str, Any]) -> list[Any]:
    messages = _body.take(body, "messages", list, [])
    if not all(isinstance(message, dict) for message in messages):
        raise InvalidRequest("The field messages must be a list of objects.", param="messages")
    return messages


def _allow(proxy: Proxy, params: Iterable[str]) -> None:
    if proxy.allow_params is None:
        if not _NEVER_PARAMS.isdisjoint(params):
            raise InvalidRequest("The body holds a field that this endpoint does not have.")
        return
    allowed = proxy.allow_params - _NEVER_PARAMS
    if allowed.issuperset(params):
        return
    if not allowed:
        raise ParamNotAllowed(
            "This proxy takes no parameters from the caller; its allowParams can name some."
        )
    names = ", ".join(sorted(allowed))
    raise ParamNotAllowed(f"Of the parameters this proxy takes from the caller only {names}.")


def _with_model(proxy: Proxy, body: dict[str, Any]) -> dict[str, Any]:
    if proxy.model is not None:
        body["model"] = proxy.model
    return body
