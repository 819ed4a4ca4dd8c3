"""What the endpoints say about themselves in the bento's OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": "string", "nullable": True},
                "code": {"type": "string"},
            },
        }
    },
}

_WHEN = {
    400: "The body is not JSON, or the prompt does not fit.",
    401: "The bearer token is missing or wrong.",
    404: "No such model.",
    413: "The body is too large.",
    422: "A field is missing, unknown, mistyped or out of range.",
    500: "The model failed.",
    503: "Too many requests are waiting.",
}

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": when, "content": {"application/json": {"schema": _ERROR_SCHEMA}}}
    for status, when in _WHEN.items()
}


def body_of(kind: type[BaseModel]) -> dict[str, Any]:
    """`requestBody` with the JSON Schema of `kind`, its references written out.

    A reference inside an OpenAPI document counts from the document's root, where the schema's own
    `$defs` are not.
    """
    schema = kind.model_json_schema()
    definitions = schema.pop("$defs", {})
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _resolve(schema, definitions)}},
        }
    }


def _resolve(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_resolve(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _resolve(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
    return {name: _resolve(value, definitions) for name, value in node.items()}
