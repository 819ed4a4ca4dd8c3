"""What the OpenAPI document says of bodies and answers; the routes handle both themselves."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from control_plane.access import TokenRequest
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


class CallerShape(_Shape):
    """Who a token stands for."""

    id: str
    name: str
    roles: list[str]
    teams: list[str] = Field(description='whose resources; "*": every team\'s')
    expiresAt: str | None


class TokenShape(CallerShape):
    """An API token; the secret itself is only in the answer that made it."""

    createdAt: str
    createdBy: str


class NewTokenShape(TokenShape):
    """A token that was just made; `token` is what its owner sends, and is shown this once."""

    token: str


class ActorShape(_Shape):
    """The token that a write was made with."""

    id: str
    name: str


class TouchedShape(ResultShape):
    """What a write did to one thing: of a token also its roles and teams, of a key also its id."""

    roles: list[str] | None = None
    teams: list[str] | None = None
    id: str | None = None


class AuditEntryShape(_Shape):
    """One write. `previous` is the SHA-256 of the entry before."""

    number: int
    previous: str
    time: str
    actor: ActorShape
    action: str
    request_id: str
    client: str
    message: str | None
    resources: list[TouchedShape]
    revision: int


class HeadShape(_Shape):
    """The newest entry of the trail."""

    number: int
    hash: str


class VerificationShape(_Shape):
    """Whether the trail is whole; `first` above 1: older entries are not there any more."""

    whole: bool
    entries: int
    first: int
    head: HeadShape
    problems: list[str]


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
    return {status: _answer(_ERRORS[status], "ErrorShape") for status in (400, 401, 403, *statuses)}


_ERRORS: Final = {
    400: "The request cannot be read.",
    401: "The token is missing, unknown, expired or revoked.",
    403: "The token's roles or teams do not allow it; nothing was written.",
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
METRICS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Prometheus's text format.", "content": {"text/plain": {}}}
}
READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {"description": "Not ready; what is missing."}
}
OPEN: Final[dict[str, Any]] = {"security": []}
"""Of the probes, which need no token."""
STATUS: Final = {
    200: {"description": "Revisions, what is wrong, and every node, as far as the caller may see."},
    **_errors(),
}
WHOAMI: Final = {200: _answer("The caller.", "CallerShape"), **_errors()}
TOKENS: Final = {200: {"description": '`{"items": [token, …]}`'}, **_errors(503)}
TOKEN: Final = {201: _answer("Made.", "NewTokenShape"), **_errors(409, 413, 415, 422, 503)}
REVOKED: Final = {200: {"description": '`{"revision": …}`'}, **_errors(404, 409, 503)}
AUDIT: Final = {
    200: {"description": '`{"items": [entry, …], "continue": token or null}`'},
    **_errors(503),
}
VERIFICATION: Final = {200: _answer("What was found.", "VerificationShape"), **_errors(503)}

KEYS: Final = {200: {"description": "Ids, never a key."}, **_errors(409, 503)}
ROTATE: Final = {
    200: {"description": "Every secret is sealed with the primary key."},
    202: {"description": "Some are not yet: ask again, with `to` as answered."},
    **_errors(409, 503),
}

VERSIONS: Final = {
    200: {"description": "Newest first: number, created, by, source, present, kept."},
    **_errors(404),
}
ROLLBACK: Final = {
    200: _answer("As it is now; with `?wait` it has a `status`.", "Resource"),
    202: _answer(_LATER, "Resource"),
    **_errors(404, 409, 422, 503),
}


def body(
    media_types: Iterable[str], *, many: bool = False, model: str = "Resource"
) -> dict[str, Any]:
    """The description of a request body."""
    one: dict[str, Any] = {"$ref": _REFERENCE.format(model=model)}
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
        about = "The admin token, or an API token (`nt_…`)."
        bearer = {"type": "http", "scheme": "bearer", "description": about}
        found["components"]["securitySchemes"] = {"token": bearer}
        found["security"] = [{"token": []}]
        return found

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _schemas() -> dict[str, Any]:
    found: dict[str, Any] = {}
    shapes = (
        *(ErrorShape, StatusShape, ReceiptShape, TrialShape, RevisionShape, TokenRequest),
        *(CallerShape, NewTokenShape, TokenShape, AuditEntryShape, VerificationShape),
    )
    models: tuple[type[BaseModel], ...] = (*KINDS.values(), *shapes)
    for model in models:
        schema = model.model_json_schema(ref_template=_REFERENCE)
        found.update(schema.pop("$defs", {}))
        found[model.__name__] = schema
    kinds = [{"$ref": _REFERENCE.format(model=kind.__name__)} for kind in KINDS.values()]
    return found | {"Resource": {"oneOf": kinds}}
