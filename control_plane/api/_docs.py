"""`/docs`: the OpenAPI document as one plain page, without scripts, and without any network.

The usual viewers are loaded from a CDN, which an operator's network may not reach and which would
run foreign code beside the admin API.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_METHODS: Final = ("get", "put", "patch", "post", "delete")
_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code,pre{font:14px/1.45 ui-monospace,monospace}"
    "pre{overflow:auto;background:#8881;padding:.5rem}"
    "summary{cursor:pointer;padding:.3rem 0}dd{margin:0 0 .4rem 1.5rem}"
    ":root{color-scheme:light dark}"
)
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    "x-content-type-options": "nosniff",
}


def page(document: Mapping[str, Any]) -> str:
    """The page for an OpenAPI document."""
    title = escape(document["info"]["title"])
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>",
        f"<style>{_STYLE}</style><h1>{title}</h1><p>{escape(document['info']['description'])}</p>",
        '<p>For tools: <a href="/openapi.json">openapi.json</a></p><h2>Calls</h2>',
        *_calls(document["paths"]),
        "<h2>Shapes</h2>",
        *_schemas(document["components"]["schemas"]),
    ]
    return "".join(parts)


def _calls(paths: Mapping[str, Any]) -> Iterator[str]:
    for path, item in paths.items():
        for method in _METHODS:
            if method in item:
                yield _call(method, path, item[method])


def _call(method: str, path: str, call: Mapping[str, Any]) -> str:
    title = f"<code>{method.upper()} {escape(path)}</code> {escape(call.get('summary', ''))}"
    return f"<details><summary>{title}</summary><dl>{''.join(_details(call))}</dl></details>"


def _details(call: Mapping[str, Any]) -> Iterator[str]:
    for parameter in call.get("parameters", ()):
        name = f"{parameter['in']} {parameter['name']}"
        yield _entry(name, parameter.get("description", ""))
    for media_type, body in call.get("requestBody", {}).get("content", {}).items():
        yield _entry(f"body {media_type}", _shape(body.get("schema", {})))
    for status, answer in call.get("responses", {}).items():
        content = answer.get("content", {}).get("application/json", {})
        text = f"{answer.get('description', '')} {_shape(content.get('schema', {}))}"
        yield _entry(f"answer {status}", text)


def _entry(term: str, text: str) -> str:
    return f"<dt><code>{escape(term)}</code></dt><dd>{escape(text)}</dd>"


def _shape(schema: Mapping[str, Any]) -> str:
    """A schema in a word: the names that it refers to."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " or ".join(_shape(choice) for choice in choices)
    if schema.get("type") == "array":
        return f"list of {_shape(schema.get('items', {}))}"
    return str(schema.get("type", ""))


def _schemas(schemas: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in sorted(schemas.items()):
        text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
        yield f"<details><summary><code>{escape(name)}</code></summary><pre>{text}</pre></details>"
