"""A request's body → documents → resources. Pure: the bytes have already been read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

from control_plane.api import _changes, _json, _yaml
from control_plane.api.errors import BadDocument, BodyTooLarge, UnsupportedMediaType
from control_plane.compile.plans import check_template
from control_plane.resources import (
    KINDS,
    InvalidResource,
    Key,
    Problem,
    Resource,
    Template,
    Upstream,
    parse,
)
from control_plane.resources.addresses import AddressPolicy
from ext_proc.errors import PlanRejected

Syntax = Literal["json", "yaml"]

MEDIA_TYPES: Final[Mapping[str, Syntax]] = {
    "application/json": "json",
    "application/yaml": "yaml",
    "application/x-yaml": "yaml",
    "text/yaml": "yaml",
    "text/x-yaml": "yaml",
}
PATCH_MEDIA_TYPES: Final[Mapping[str, Syntax]] = {
    "application/merge-patch+json": "json",
    "application/json": "json",
}


_DEFAULT: Final = AddressPolicy()


@dataclass(frozen=True, slots=True)
class Batch:
    """What an apply holds.

    Attributes:
        resources: those that are right in themselves, by the index of their documents.
        problems: all problems of the others, each with the index of its document.
        broken: the keys of the others, as far as they can be told.
    """

    resources: Mapping[int, Resource]
    problems: tuple[Problem, ...]
    broken: frozenset[Key]


def syntax_of(content_type: str | None, media_types: Mapping[str, Syntax] = MEDIA_TYPES) -> Syntax:
    """How a body is written; raises UnsupportedMediaType."""
    media_type, _, parameters = (content_type or "").partition(";")
    syntax = media_types.get(media_type.strip().lower())
    charset = parameters.strip().lower().replace('"', "")
    if syntax is None or charset not in ("", "charset=utf-8", "charset=utf8"):
        allowed = ", ".join(media_types)
        raise UnsupportedMediaType(f"the content type must be one of {allowed}, in UTF-8")
    return syntax


def one(body: bytes, syntax: Syntax) -> Any:
    """The one value in a body; raises BadDocument."""
    values = list(islice(_values(body, syntax), 2))
    if len(values) != 1:
        raise BadDocument("the body must hold exactly one document; send many to /api/v1/apply")
    return values[0]


def resource(body: bytes, syntax: Syntax, addresses: AddressPolicy = _DEFAULT) -> Resource:
    """The one resource in a body; raises BadDocument, InvalidResource."""
    return accepted(one(body, syntax), addresses)


def accepted(document: Any, addresses: AddressPolicy = _DEFAULT) -> Resource:
    """The resource of a document, if it fits its kind, points nowhere that it must not, and every
    worker will take it.

    Raises:
        InvalidResource: it does not.
    """
    found = parse(document)
    if isinstance(found, Upstream):
        _check_address(found, addresses)
    if isinstance(found, Template):
        try:
            check_template(found)
        except PlanRejected as error:
            problem = Problem("spec.messages", str(error), "Make the template simpler")
            raise InvalidResource((problem,), f"Template {found.metadata.name}") from error
    return found


def _check_address(upstream: Upstream, addresses: AddressPolicy) -> None:
    problem = addresses.problem(upstream)
    if problem is not None:
        raise InvalidResource((problem,), f"Upstream {upstream.metadata.name}")


def batch(body: bytes, syntax: Syntax, most: int, addresses: AddressPolicy = _DEFAULT) -> Batch:
    """The documents of an apply: a YAML stream, or a JSON object or list of objects.

    Raises:
        BadDocument: the body cannot be read, or holds none.
        BodyTooLarge: more than `most` documents.
    """
    documents = list(islice(_flat(_values(body, syntax)), most + 1))
    if len(documents) > most:
        raise BodyTooLarge(f"more than {most:,} documents; send them in parts")
    if not documents:
        raise BadDocument("the body holds no document")
    return _parsed(documents, addresses)


def _values(body: bytes, syntax: Syntax) -> Iterator[Any]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadDocument(f"the body is not UTF-8, at byte {error.start}") from None
    if syntax == "yaml":
        yield from _yaml.load_all(text)
    else:
        yield _json.loads(text)


def _flat(values: Iterator[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list):
            yield from value
        else:
            yield value


def _parsed(documents: list[Any], addresses: AddressPolicy) -> Batch:
    resources: dict[int, Resource] = {}
    problems: list[Problem] = []
    broken: set[Key] = set()
    first: dict[Key, int] = {}
    for i, document in enumerate(documents):
        try:
            resource = accepted(document, addresses)
        except InvalidResource as error:
            problems.extend(_changes.at(f"documents[{i}]", problem) for problem in error.problems)
            broken.update(_key_of(document))
            continue
        if first.setdefault(resource.key, i) != i:
            problems.append(_twice(i, resource.key, first[resource.key]))
        else:
            resources[i] = resource
    return Batch(resources, tuple(problems), frozenset(broken))


def _twice(index: int, key: Key, first: int) -> Problem:
    message = f"{key} is in documents[{first}] already"
    return Problem(f"documents[{index}]", message, "Keep one of the two")


def _key_of(document: Any) -> Iterator[Key]:
    """The key that a document would have if it were right."""
    metadata = document.get("metadata") if isinstance(document, Mapping) else None
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    for plural, kind in KINDS.items():
        if isinstance(name, str) and document.get("kind") == kind.__name__:
            yield Key(plural, name)
