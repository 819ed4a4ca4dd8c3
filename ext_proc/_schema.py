"""The variables of a template: what is taken, what is missing, what is wrong.

JSON Schema 2020-12 (https://json-schema.org/draft/2020-12/schema). Messages are made from the
schema alone, which the template's author wrote; of what the caller sent nothing is repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import jsonschema_rs
import orjson

from ext_proc.errors import (
    InvalidVariable,
    MissingVariable,
    PlanRejected,
    TemplateTooExpensive,
    UnknownVariable,
)

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
"""All that a `$schema` may name, at any depth."""
MAX_NODES: Final = 1_000
"""Objects and lists of a schema, all together; checking a value can visit each of them."""
MAX_ENUM: Final = 500
"""Values of one `enum`: a value is compared with each."""
MAX_PATTERNS: Final = 32
"""Regular expressions of a schema, all together: of `pattern`, and names in `patternProperties`."""
MAX_MATCHED: Final = 512 << 10
"""Bytes of the variables' text × regular expressions: each may read all of it, in 2 µs a byte."""
MAX_VALUES: Final = 10_000
"""Values of all variables together, those inside of others included."""
MAX_CONSTRAINT = 200
"""The longest constraint that a message repeats, in characters of JSON."""

_REGEX = jsonschema_rs.RegexOptions(size_limit=64 << 10, dfa_size_limit=1 << 20)
_NESTING = ("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas")
_SHOWN = frozenset((
    "const", "enum", "exclusiveMaximum", "exclusiveMinimum", "format", "maxItems", "maxLength",
    "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum", "multipleOf",
    "pattern", "uniqueItems",
))  # fmt: skip


class Variables:
    """The compiled schema of a template's variables; immutable.

    Args:
        schema: JSON Schema of the variables object; `{}` means that all of `used` are required and
            nothing else is taken.
        used: the variables that the messages name.

    Raises:
        PlanRejected: not a JSON Schema, or one that needs something from elsewhere (a remote
            `$ref`) or a regular expression that cannot be matched in linear time.
    """

    __slots__ = ("_defaults", "_known", "_most_text", "_validator")

    def __init__(self, schema: Mapping[str, Any], used: Iterable[str]) -> None:
        patterns = bounded(schema)
        self._most_text = MAX_MATCHED // patterns if patterns else None
        names = sorted(used)
        effective = _closed(schema) if schema else _required(names)
        properties = effective.get("properties", {})
        if not isinstance(properties, dict):
            raise PlanRejected("variables.properties must be an object")
        self._known = frozenset(properties)
        self._defaults = {
            name: value["default"]
            for name, value in properties.items()
            if isinstance(value, dict) and "default" in value
        }
        self._validator = compiled(effective)

    def complete(self, given: dict[str, Any]) -> dict[str, Any]:
        """The variables with defaults filled in, if the schema takes them.

        Raises:
            MissingVariable, UnknownVariable, InvalidVariable: it does not.
        """
        if _holds_more(given, MAX_VALUES):
            raise InvalidVariable(
                f"The variables may hold {MAX_VALUES:,} values, all together.", param="variables"
            )
        variables = {**self._defaults, **given}
        if self._most_text is not None and _text(variables) > self._most_text:
            raise InvalidVariable(
                f"The variables may hold {self._most_text:,} bytes of text, all together, as their "
                "schema has regular expressions.",
                param="variables",
            )
        if not self._validator.is_valid(variables):
            self._refuse(variables)
        return variables

    def _refuse(self, variables: dict[str, Any]) -> None:
        """Raise the most useful of all errors: missing before unknown before wrong."""
        problems = list(self._validator.iter_errors(variables))
        missing = sorted(
            str(problem.kind.value)
            for problem in problems
            if problem.kind.name == "required" and not problem.instance_path
        )
        if named := [name for name in missing if name in self._known]:
            raise MissingVariable(f"Missing variables: {', '.join(named)}.", param="variables")
        for problem in problems:
            if problem.instance_path:
                continue
            if problem.kind.name in ("additionalProperties", "unevaluatedProperties"):
                raise UnknownVariable(self._taken(), param="variables")
        raise self._wrong(problems)

    def _taken(self) -> str:
        if not self._known:
            return "This prompt template takes no variables."
        return f"This prompt template takes only the variables {', '.join(sorted(self._known))}."

    def _wrong(self, problems: list[jsonschema_rs.ValidationError]) -> Exception:
        for problem in problems:
            if "Limit" in problem.kind.name or "Failure" in problem.kind.name:
                return TemplateTooExpensive()
            name = problem.instance_path[0] if problem.instance_path else None
            if isinstance(name, str) and name in self._known:
                return InvalidVariable(
                    f"The variable {name} is wrong: {_expectation(problem)}", param="variables"
                )
        return InvalidVariable("The variables do not fit their schema.", param="variables")


def _expectation(problem: jsonschema_rs.ValidationError) -> str:
    inside = "a value inside it" if len(problem.instance_path) > 1 else "it"
    keyword = problem.kind.name
    if keyword == "type":
        return f"{inside} must be of type {' or '.join(problem.kind.value)}."
    if keyword not in _SHOWN:
        return f"{inside} does not fit the schema's {keyword}."
    constraint = orjson.dumps(problem.kind.value).decode()
    if len(constraint) > MAX_CONSTRAINT:
        return f"{inside} does not fit the schema's {keyword}."
    return f"{inside} must fit {keyword} {constraint}."


def bounded(schema: Mapping[str, Any]) -> int:
    """A schema whose check takes time by its size alone: without references, whose expansion can
    be exponentially larger, and not large itself. To be called before any library sees the schema:
    jsonschema_rs fetches what `$schema` names, from the network and from files.

    Returns:
        How many regular expressions it holds.

    Raises:
        PlanRejected: it is not such a schema.
    """
    nodes = patterns = 0
    stack: list[Any] = [schema]
    while stack:
        node = stack.pop()
        nodes += 1
        if nodes > MAX_NODES:
            raise PlanRejected(f"variables: a schema may hold {MAX_NODES:,} objects and lists")
        if isinstance(node, Mapping):
            if "$ref" in node or "$dynamicRef" in node:
                raise PlanRejected("variables: $ref cannot be used; write the schema out")
            if node.get("$schema", DIALECT) != DIALECT:
                raise PlanRejected(f"variables: $schema may only be {DIALECT}")
            patterns += _patterns(node)
            if patterns > MAX_PATTERNS:
                raise PlanRejected(
                    f"variables: pattern and patternProperties may hold {MAX_PATTERNS} regular "
                    "expressions, all together"
                )
            enum = node.get("enum")
            if isinstance(enum, list) and (
                len(enum) > MAX_ENUM or any(isinstance(value, (dict, list)) for value in enum)
            ):
                raise PlanRejected(f"variables: an enum may hold {MAX_ENUM} plain values")
        inside = node.values() if isinstance(node, Mapping) else node
        stack.extend(value for value in inside if isinstance(value, (dict, list)))
    return patterns


def _patterns(node: Mapping[str, Any]) -> int:
    named = node.get("patternProperties")
    return isinstance(node.get("pattern"), str) + (len(named) if isinstance(named, dict) else 0)


def _text(value: object) -> int:
    """Bytes of all strings of a value, the names in its objects included."""
    stack, size = [value], 0
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            size += len(node.encode(errors="replace"))
        elif isinstance(node, dict):
            stack.extend(node)
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return size


def _holds_more(value: object, limit: int) -> bool:
    stack, count = [value], 0
    while stack:
        node = stack.pop()
        inside = node.values() if isinstance(node, dict) else node
        assert isinstance(inside, Collection)
        count += len(inside)
        if count > limit:
            return True
        stack.extend(item for item in inside if isinstance(item, (dict, list)))
    return False


def _required(names: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema, refusing unknown variables unless it says itself what becomes of them."""
    if "additionalProperties" in schema or "unevaluatedProperties" in schema:
        return dict(schema)
    nested = any(keyword in schema for keyword in _NESTING)
    return {**schema, ("unevaluatedProperties" if nested else "additionalProperties"): False}


def compiled(schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """The validator of a schema that is `bounded`; raises PlanRejected."""
    try:
        return jsonschema_rs.Draft202012Validator(
            schema, pattern_options=_REGEX, retriever=_refuse_to_fetch
        )
    except (ValueError, TypeError, RecursionError, jsonschema_rs.ReferencingError) as error:
        raise PlanRejected(f"variables: {str(error).splitlines()[0]}") from error


def _refuse_to_fetch(uri: str) -> Any:
    raise ValueError("$ref may only point into the schema itself")
