"""The envelope that every kind shares: `apiVersion`, `kind`, `metadata`, `spec`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

API_VERSION: Final = "naru/v1"

_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def dns_label(value: str) -> str:
    if not _DNS_LABEL.fullmatch(value):
        raise ValueError(
            "not a DNS label: 1 to 63 of a-z, 0-9 and '-', neither first nor last a '-'"
        )
    return value


def _visible(value: str) -> str:
    if not value.isprintable():
        raise ValueError(
            "must hold no control character, and none that cannot be seen or changes the direction"
        )
    return value


def _parse_duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('not a duration: a number and a unit, such as "250ms", "4s", "5m"')
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


def _format_duration(value: timedelta) -> str:
    milliseconds = round(value.total_seconds() * 1000)
    return f"{milliseconds // 1000}s" if milliseconds % 1000 == 0 else f"{milliseconds}ms"


Name = Annotated[str, AfterValidator(dns_label)]
"""A DNS label (RFC 1123)."""

LabelKey = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_visible)]
LabelValue = Annotated[str, Field(max_length=1024), AfterValidator(_visible)]
"""Texts that tools print and compare."""

Duration = Annotated[
    timedelta,
    BeforeValidator(_parse_duration, json_schema_input_type=str),
    PlainSerializer(_format_duration, return_type=str),
]
"""A length of time, written as a number and a unit: `250ms`, `4s`, `5m`, `1h`."""


class Key(NamedTuple):
    """What names a resource: the plural of its kind, and its name."""

    plural: str
    name: str

    def __str__(self) -> str:
        return f"{self.plural}/{self.name}"


class Part(BaseModel):
    """A piece of a resource: immutable, strict, no unknown fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        populate_by_name=True,
        hide_input_in_errors=True,
        regex_engine="rust-regex",
    )


class Metadata(Part):
    """Who a resource is.

    Attributes:
        team: whose it is.
        sharedWith: the teams that may name it in resources of theirs, and read it; `*`: every team.
        revision: the etcd revision of its last change; on input it must be the current one.
    """

    name: Name
    team: Name = "default"
    sharedWith: (
        Annotated[tuple[Name | Literal["*"], ...], Field(max_length=64, strict=False)] | None
    ) = None
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=64)
    annotations: dict[LabelKey, str] = Field(default_factory=dict, max_length=64)
    revision: int | None = Field(default=None, ge=0)

    def may_be_named_by(self, team: str) -> bool:
        """Whether resources of `team` may name this one."""
        return team == self.team or not {team, "*"}.isdisjoint(self.sharedWith or ())


class Resource(Part):
    """What every kind is and can."""

    plural: ClassVar[str]
    write_only: ClassVar[frozenset[str]] = frozenset()
    """Fields of `spec` that are secrets: stored sealed, never shown."""

    apiVersion: Literal["naru/v1"]
    kind: str
    metadata: Metadata
    spec: Any

    @property
    def key(self) -> Key:
        return Key(self.plural, self.metadata.name)

    def references(self) -> frozenset[Key]:
        """The resources that this one names; each must exist."""
        return frozenset()

    def to_document(self, *, reveal: bool = False) -> dict[str, Any]:
        """The document that parses to this resource again; a secret only if `reveal`."""
        return self.model_dump(
            mode="json",
            by_alias=True,
            exclude_none=True,
            exclude={"metadata": {"revision"}, "spec": set() if reveal else set(self.write_only)},
            context={"reveal": reveal},
        )
