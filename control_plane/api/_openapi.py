"""What the OpenAPI document says of bodies and answers; the routes handle both themselves."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from control_plane.resources import KINDS

_REFERENCE: Final = "#/components/schemas/{model}"


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProblemShape(_Shape):
    """One thing that is wrong: where, what, and what to do."""

    field: str
    message: str
    mend: str


class ErrorBody(_Shape):
    """`code` is stable; `problems` lists everything that is wrong, not only the first."""

    code: str
    message: str
    problems: list[ProblemShape]
    request_id: str


class ErrorShape(_Shape):
    """The one shape of every error."""

    error: ErrorBody


class NodeShape(_Shape):
    """`detail` holds the node's own words when it refused."""

    state: str = Field(description="pending, applied or rejected")
    detail: str


class StatusShape(_Shape):
    """How far a revision has come on the connected nodes."""

    state: str = Field(description="pending, applied or rejected")
    nodes: dict[str, NodeShape]


class ResultShape(_Shape):
    """What became of one resource."""

    kind: str
    name: str
    change: str = Field(description="created, updated, unchanged or deleted")


class ReceiptShape(_Shape):
    """The answer to a delete or an apply. `status` is there with `?wait` only."""

    revision: int
    results: list[ResultShape]
    status: StatusShape | None = None


class DifferenceShape(_Shape):
    """One Envoy or ext_proc resource that would change."""

    type: str = Field(description="short xDS type, such as Cluster")
    name: str
    change: str = Field(description="added, changed or removed")


class TrialShape(_Shape):
    """The answer to any write with `?dry_run=true`."""

    dry_run: bool
    results: list[ResultShape]
    difference: list[DifferenceShape]


class AsideShape(_Shape):
    """A resource that is not live as it is stored."""

    model_config = ConfigDict(extra="allow")


class RevisionShape(StatusShape):
    """How far one revision has come; `problems` says why it could not be compiled."""

    revision: int
    set_aside: list[AsideShape] = Field(default=[])
    problems: list[ProblemShape]


def _answer(description: str, *models: str) -> dict[str, Any]:
    references = [{"$ref": _REFERENCE.format(model=model)} for model in models]
    schema = references[0] if len(references) == 1 else {"anyOf": references}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: _answer(_ERRORS[status], "ErrorShape") for status in (400, 401, *statuses)}


_ERRORS: Final = {
    400: "The request cannot be read.",
    401: "The admin token is missing or wrong.",
    404: "No such resource, kind or revision.",
    409: "Another version is there, or others name the resource.",
    413: "Too large; nothing was written.",
    415: "The content type is not taken.",
    422: "Not valid; or stored, but it cannot be compiled or a node refuses it.",
    503: "etcd does not answer.",
}
_RESOURCE: Final = ("Resource", "TrialShape")
_LATER: Final = "Stored; not every connected node has acknowledged in time."
_WRITE_ERRORS: Final = (404, 409, 413, 422, 503)

LIST: Final = {
    200: {"description": '`{"items": [resource, …], "continue": token or null}`'},
    **_errors(404),
}
READ: Final = {200: _answer("The resource; its secrets are left out.", "Resource"), **_errors(404)}
PATCH: Final = {
    200: _answer("As it is now; with `?wait` it has a `status`.", *_RESOURCE),
    202: _answer(_LATER, "Resource"),
    **_errors(*_WRITE_ERRORS, 415),
}
PUT: Final = {201: _answer("Created.", "Resource"), **PATCH}
DELETE: Final = {
    200: _answer("Deleted.", "ReceiptShape", "TrialShape"),
    202: _answer(_LATER, "ReceiptShape"),
    **_errors(*_WRITE_ERRORS),
}
APPLY: Final = {
    200: _answer("All are stored.", "ReceiptShape", "TrialShape"),
    202: _answer(_LATER, "ReceiptShape"),
    **_errors(409, 413, 415, 422, 503),
}
REVISION: Final = {200: _answer("Per node.", "RevisionShape"), **_errors(404)}
STATUS: Final = {200: {"description": "What is stored, and who has it."}, **_errors()}
METRICS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Prometheus's text format.", "content": {"text/plain": {}}}
}
READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {"description": "Not ready; what is missing."}
}
OPEN: Final[dict[str, Any]] = {"security": []}
"""Of the probes, which need no token."""


def body(media_types: Iterable[str], *, many: bool = False) -> dict[str, Any]:
    """The description of a request body."""
    one: dict[str, Any] = {"$ref": _REFERENCE.format(model="Resource")}
    schema = {"anyOf": [one, {"type": "array", "items": one}]} if many else one
    content = {
        media_type: {"schema": {"type": "object"} if "patch" in media_type else schema}
        for media_type in media_types
    }
    return {"requestBody": {"required": True, "content": content}}


def describe(app: FastAPI) -> None:
    """Make the application's OpenAPI document hold the schemas that the routes refer to."""
    generate = app.openapi

    @cache
    def openapi() -> dict[str, Any]:
        found = generate()
        schemas = found.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(_schemas())
        bearer = {"type": "http", "scheme": "bearer", "description": "The admin token."}
        found["components"]["securitySchemes"] = {"admin": bearer}
        found["security"] = [{"admin": []}]
        return found

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _schemas() -> dict[str, Any]:
    found: dict[str, Any] = {}
    shapes = (ErrorShape, StatusShape, ReceiptShape, TrialShape, RevisionShape)
    models: tuple[type[BaseModel], ...] = (*KINDS.values(), *shapes)
    for model in models:
        schema = model.model_json_schema(ref_template=_REFERENCE)
        found.update(schema.pop("$defs", {}))
        found[model.__name__] = schema
    kinds = [{"$ref": _REFERENCE.format(model=kind.__name__)} for kind in KINDS.values()]
    return found | {"Resource": {"oneOf": kinds}}
