"""A document → a resource, or every problem with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from control_plane.resources._base import API_VERSION, Resource
from control_plane.resources.credential import Credential
from control_plane.resources.errors import InvalidResource, Problem
from control_plane.resources.proxy import Proxy
from control_plane.resources.template import Template
from control_plane.resources.upstream import Upstream

KINDS: Final[Mapping[str, type[Resource]]] = MappingProxyType(
    {kind.plural: kind for kind in (Upstream, Credential, Template, Proxy)}
)
"""Plural → kind: the one list of what exists."""

_BY_KIND: Final = {kind.__name__: kind for kind in KINDS.values()}
_MENDS: Final = {
    "missing": "Add the field",
    "extra_forbidden": "Remove it, or correct its name",
    "literal_error": "Use one of the values named",
    "json_invalid": "Correct the syntax",
}


def parse(document: Mapping[str, Any]) -> Resource:
    """The resource that a document (from YAML or JSON) describes.

    Raises:
        InvalidResource: with all problems of the document; no value of a secret is in them.
    """
    kind = _kind_of(document)
    try:
        return kind.model_validate(dict(document))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        problems = tuple(_problem(detail) for detail in details if _is_a_cause(detail, details))
        raise InvalidResource(problems, _subject(document)) from None
    except RecursionError:
        problem = Problem("spec", "nested too deeply", "Use fewer levels")
        raise InvalidResource((problem,), _subject(document)) from None


def _kind_of(document: object) -> type[Resource]:
    if not isinstance(document, Mapping):
        problem = Problem("$", "not an object", "Give apiVersion, kind, metadata and spec")
        raise InvalidResource((problem,))
    version, name = document.get("apiVersion"), document.get("kind")
    problems = []
    if version != API_VERSION:
        problems.append(
            Problem("apiVersion", "missing or not known", f"Write apiVersion: {API_VERSION}")
        )
    if not isinstance(name, str) or name not in _BY_KIND:
        problems.append(Problem("kind", "missing or not known", f"Use {_one_of(_BY_KIND)}"))
    if problems:
        raise InvalidResource(tuple(problems), _subject(document))
    return _BY_KIND[str(name)]


def _is_a_cause(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Whether a problem is not the mere consequence of one inside the same field."""
    loc = detail["loc"]
    return not any(len(d["loc"]) > len(loc) and d["loc"][: len(loc)] == loc for d in details)


def _problem(detail: ErrorDetails) -> Problem:
    field = ".".join(str(part) for part in detail["loc"]) or "$"
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    return Problem(field, message, _MENDS.get(detail["type"], "Correct the value"))


def _subject(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return f"{_short(document.get('kind'))} {_short(name)}"


def _short(value: object) -> str:
    return value[:64] if isinstance(value, str) else "?"


def _one_of(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
