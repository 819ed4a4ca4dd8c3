"""Query parameters and path parts, read strictly: `?dryrun=true` must not become a real write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Path, Query, Request
from starlette.routing import compile_path

from control_plane.api import _preconditions
from control_plane.api._preconditions import Precondition
from control_plane.api.errors import BadRequest, MethodNotAllowed, UnknownKind
from control_plane.resources import KINDS, Problem, Resource

MOST_WAIT: Final = 300.0
"""Seconds that `?wait` can ask for."""
MOST_MESSAGE: Final = 500
"""Characters of `?message`."""

_WAIT: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(ms|s|m)", re.ASCII)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a write is to be done.

    Attributes:
        dry_run: check and compare only.
        wait: seconds to wait until every connected node has acknowledged; None: do not wait.
        message: why, for the audit trail.
    """

    dry_run: bool
    wait: float | None
    message: str | None = None


def _write_options(
    request: Request,
    dry_run: Annotated[
        bool, Query(description="Check, and answer what would change in Envoy; write nothing.")
    ] = False,
    wait: Annotated[
        str | None,
        Query(
            description='Wait so long for every connected node to acknowledge, such as "5s".',
            json_schema_extra={"pattern": f"^{_WAIT.pattern}$"},
        ),
    ] = None,
    message: Annotated[
        str | None,
        Query(description="Why, for the audit trail; or as the header X-Naru-Message."),
    ] = None,
) -> WriteOptions:
    only(request, "dry_run", "wait", "message")
    why = _message(request, message)
    if dry_run and wait is not None:
        raise BadRequest("dry_run writes nothing, so there is nothing to wait for; leave one out")
    return WriteOptions(dry_run, None if wait is None else seconds(wait), why)


def _kind(
    request: Request,
    kinds: Annotated[
        str, Path(description="Plural of a kind.", json_schema_extra={"enum": [*sorted(KINDS)]})
    ],
) -> type[Resource]:
    kind = KINDS.get(kinds)
    if kind is None:
        methods = _methods(request)
        if methods:  # a word in the place of a kind, such as `apply`
            allowed = ", ".join(sorted(methods))
            raise MethodNotAllowed(f"the path takes {allowed} alone", headers={"allow": allowed})
        raise UnknownKind
    return kind


def _methods(request: Request) -> set[str]:
    """The methods that the request's path takes as a path of its own, and not as a kind's."""
    return {
        method.upper()
        for path, methods in request.app.openapi()["paths"].items()
        if "{kinds}" not in path and compile_path(path)[0].match(request.url.path)
        for method in methods
    }


def _precondition(request: Request) -> Precondition:
    return _preconditions.of_headers(
        _header(request, "if-match"), _header(request, "if-none-match")
    )


def only(request: Request, *names: str) -> None:
    """Raises BadRequest when the query holds anything else, or a parameter twice."""
    unknown = sorted(request.query_params.keys() - set(names))
    if unknown:
        known = ", ".join(names) or "none"
        field = f"query.{ascii(unknown[0][:64])[1:-1]}"
        problem = Problem(field, "no such parameter", f"Known here: {known}")
        raise BadRequest("a query parameter is not known", (problem,))
    if len(request.query_params.multi_items()) != len(request.query_params.keys()):
        raise BadRequest("a query parameter is given twice")


async def message_only(
    request: Request,
    message: Annotated[str | None, Query(description="Why, for the audit trail.")] = None,
) -> str | None:
    """For writes that know no other option."""
    only(request, "message")
    return _message(request, message)


def message_of(request: Request) -> str | None:
    """For writes with options of their own, which name `message` among them."""
    return _message(request, request.query_params.get("message"))


def _message(request: Request, parameter: str | None) -> str | None:
    """Why a write is made: the parameter, or the header in UTF-8; one line."""
    text, field = parameter, "query.message"
    if text is None and (header := _header(request, "x-naru-message")) is not None:
        field = "X-Naru-Message"
        try:
            text = header.encode("latin-1").decode()
        except UnicodeDecodeError:
            text = ""
    if text is not None and not (0 < len(text) <= MOST_MESSAGE and text.isprintable()):
        mend = f"Write one line of 1 to {MOST_MESSAGE} characters, in UTF-8"
        raise BadRequest("the message cannot be kept", (Problem(field, "cannot be kept", mend),))
    return text


def _header(request: Request, name: str) -> str | None:
    """The header's value; several lines are one list (RFC 9110, 5.3)."""
    values = request.headers.getlist(name)
    return ", ".join(values) if values else None


def seconds(text: str) -> float:
    """The value of `?wait`; raises BadRequest."""
    match = _WAIT.fullmatch(text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else -1.0
    if not 0 <= seconds <= MOST_WAIT:
        problem = Problem("query.wait", "not a duration up to 300s", 'Write it as "5s" or "500ms"')
        raise BadRequest("wait cannot be read", (problem,))
    return seconds


Options = Annotated[WriteOptions, Depends(_write_options)]
Message = Annotated[str | None, Depends(message_only)]
Kind = Annotated[type[Resource], Depends(_kind)]
Expected = Annotated[Precondition, Depends(_precondition)]
Name = Annotated[str, Path(description="The resource's name, a DNS label.")]
