"""The JSON that the API answers with: resources, receipts, statuses and errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from control_plane.api._preconditions import etag
from control_plane.api.errors import (
    ApiError,
    BadRequest,
    MethodNotAllowed,
    NotFound,
)
from control_plane.resources import Problem, Resource, ResourceError
from control_plane.store import StoreError, StoreUnavailable


class Json(Response):
    """A JSON answer. Content must be JSON-ready."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


def document(resource: Resource, revision: int) -> dict[str, Any]:
    """A resource as it is shown: with its revision, without its secrets."""
    shown = resource.to_document(reveal=False)
    return shown | {"metadata": shown["metadata"] | {"revision": revision}}


def revision_headers(revision: int, resource_revision: int | None = None) -> dict[str, str]:
    """`x-naru-revision`: of the whole configuration; `ETag`: of the resource that is answered."""
    headers = {"x-naru-revision": str(revision)}
    return headers if resource_revision is None else headers | {"etag": etag(resource_revision)}


def error_answer(error: Exception, request_id: str) -> Json:
    """The answer to any error. What is not meant for callers becomes a bare 500."""
    status, code, message, problems, headers = _parts(error)
    body = {
        "code": code,
        "message": message,
        "problems": [problem_json(problem) for problem in problems],
        "request_id": request_id,
    }
    return Json({"error": body}, status_code=status, headers=dict(headers))


def problem_json(problem: Problem) -> dict[str, str]:
    return {"field": problem.field, "message": problem.message, "mend": problem.mend}


_Parts = tuple[int, str, str, Iterable[Problem], Mapping[str, str]]


def _parts(error: Exception) -> _Parts:
    match error:
        case ApiError():
            return error.status, error.code, error.message, error.problems, error.headers
        case ResourceError():
            return error.status, error.code, _summary(error.problems), error.problems, {}
        case StoreError():
            return error.status, error.code, error.message, (), _retry(error)
        case RequestValidationError():
            return _parts(BadRequest("the request cannot be read", _query_problems(error)))
        case HTTPException():
            return _http(error)
        case _:
            return 500, "internal", "the control plane failed; its log has the request id", (), {}


def _summary(problems: tuple[Problem, ...]) -> str:
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{first.field}: {first.message}{more}"


def _retry(error: StoreError) -> Mapping[str, str]:
    return {"retry-after": "1"} if isinstance(error, StoreUnavailable) else {}


def _http(error: HTTPException) -> _Parts:
    if error.status_code == 404:
        return _parts(NotFound("no such path; see /docs"))
    if error.status_code == 405:
        allowed = dict(error.headers or {})
        return _parts(MethodNotAllowed("the path does not take this method", headers=allowed))
    return error.status_code, "bad_request", "the request cannot be served", (), {}


def _query_problems(error: RequestValidationError) -> list[Problem]:
    return [
        Problem(
            ".".join(str(part) for part in detail["loc"]),
            str(detail["msg"]),
            "Correct the value, or leave it out",
        )
        for detail in error.errors()
    ]
