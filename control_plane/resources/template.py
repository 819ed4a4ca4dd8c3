"""`Template`: prompt messages with variables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Final, Literal

import jsonschema_rs
from pydantic import Field, field_validator, model_validator

from control_plane.resources import _prompt_language
from control_plane.resources._base import Part, Resource
from control_plane.resources.proxy import Params
from ext_proc import _schema as schemas
from ext_proc.errors import PlanRejected

MOST_CONTENT: Final = 64 * 1024
"""Characters of all messages of a template together."""


class PromptMessage(Part):
    """One message; `content` is Jinja text (see `_prompt_language`)."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str = Field(max_length=MOST_CONTENT)

    @field_validator("content")
    @classmethod
    def _is_a_prompt(cls, value: str) -> str:
        found = list(_prompt_language.problems(value))
        if found:
            raise ValueError("; ".join(found[:8]))
        return value


class TemplateSpec(Part):
    """See `Template`.

    Attributes:
        variables: JSON Schema (2020-12) of the variables, an object. Without one, all variables
            that the messages use are required, and may be of any type.
        params: fields added to the upstream's body; a proxy's and a caller's win over them.
    """

    variables: dict[str, Any] = Field(default_factory=dict)
    messages: tuple[PromptMessage, ...] = Field(min_length=1, max_length=256, strict=False)
    params: Params = Field(default_factory=dict)

    @field_validator("variables")
    @classmethod
    def _is_a_schema(cls, value: dict[str, Any]) -> dict[str, Any]:
        found = list(_schema_problems(value))
        if found:
            raise ValueError("; ".join(found[:8]))
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> TemplateSpec:
        if sum(len(message.content) for message in self.messages) > MOST_CONTENT:
            raise ValueError(f"the messages together are longer than {MOST_CONTENT} characters")
        unknown = self.used_variables() - self.variables.get("properties", {}).keys()
        if self.variables and unknown:
            raise ValueError(
                f"the messages use {', '.join(sorted(unknown))}, which variables.properties does "
                "not declare"
            )
        return self

    def used_variables(self) -> frozenset[str]:
        """The names of the variables that the messages take."""
        return frozenset().union(
            *(_prompt_language.undeclared(message.content) for message in self.messages)
        )


def _schema_problems(schema: dict[str, Any]) -> Iterator[str]:
    if not schema:
        return
    if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        yield 'must be the schema of an object: {"type": "object", "properties": {…}}'
        return
    try:
        schemas.bounded(schema)
        jsonschema_rs.meta.validate(schema)
        schemas.compiled(schema)
    except PlanRejected as error:
        yield str(error)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        yield f"not a JSON Schema: {str(error).splitlines()[0]}"


class Template(Resource):
    """Prompt messages with variables, rendered for every request."""

    plural: ClassVar[str] = "templates"
    kind: Literal["Template"]
    spec: TemplateSpec
