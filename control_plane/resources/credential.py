"""`Credential`: a provider's secret, and how it is put on a request."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, ClassVar, Final, Literal

from pydantic import (
    Field,
    SecretStr,
    SerializationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from control_plane.resources._base import Part, Resource
from control_plane.resources._hosts import Place, is_near
from control_plane.resources._moment import Moment
from control_plane.resources.upstream import Address

_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", re.ASCII)
_RESERVED: Final = frozenset({
    "host", "connection", "content-length", "content-type", "transfer-encoding", "te", "trailer",
    "upgrade", "expect", "keep-alive", "content-encoding", "via", "forwarded",
    "x-request-id", "traceparent", "tracestate",  # go back to callers, and into logs
})  # fmt: skip


def _checked_host(value: str) -> str:
    try:
        Place.parse(value)
    except ValueError as error:
        raise ValueError(
            f'each must be a host, or host:port, such as "api.openai.com"; {error}'
        ) from None
    return value


class CredentialSpec(Part):
    """See `Credential`.

    Attributes:
        type: `bearer` sends `Authorization: Bearer SECRET`; `header` sends `HEADER: SECRET`.
        secret: write-only; a document without it keeps the one that is stored.
        header: the header's name, for type `header`.
        allowedHosts: the only places that the secret may be sent to; empty: none. `host` is every
            port of it over https, and over http too if it is `localhost` or an address that is
            loopback or in a private network; `host:port` is that port, https or http.
        expiresAt: when the provider stops to take it; only warned of, it is sent all the same.
    """

    type: Literal["bearer", "header"]
    secret: SecretStr | None = Field(default=None, max_length=16 * 1024)
    header: str | None = None
    allowedHosts: tuple[str, ...] = Field(default=(), max_length=64)
    expiresAt: Moment | None = None

    @field_validator("allowedHosts", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise ValueError("must be a list of host names")
        return tuple(_checked_host(host) for host in value)

    @field_validator("secret")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _HEADER_VALUE.fullmatch(value.get_secret_value()):
            raise ValueError("must be visible ASCII without leading or trailing space, not empty")
        return value

    @model_validator(mode="after")
    def _header_fits_type(self) -> CredentialSpec:
        if (self.type == "header") != (self.header is not None):
            raise ValueError("header is needed for type header, and for no other")
        if self.header is not None and not _is_settable(self.header):
            raise ValueError("header must be a lower-case header name that is not reserved")
        return self

    @field_serializer("secret")
    def _write_only(self, value: SecretStr | None, info: SerializationInfo) -> str | None:
        context: dict[str, Any] = info.context or {}
        return value.get_secret_value() if value and context.get("reveal") else None

    def may_go_to(self, address: Address) -> bool:
        """Whether the secret may be sent to this upstream."""
        return self.names(address) and (address.tls or self._may_be_read(address))

    def names(self, address: Address) -> bool:
        """Whether a host of `allowedHosts` is this one, whatever is spoken there."""
        return any(place.covers(address.name, address.port) for place in self.places)

    def _may_be_read(self, address: Address) -> bool:
        """Whether it may go there in the clear: to a name, only where its port says that it may."""
        return is_near(address.name) or Place(address.name, address.port) in self.places

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """`allowedHosts`, read."""
        return tuple(map(Place.parse, self.allowedHosts))

    def goes_no_further_than(self, other: CredentialSpec) -> bool:
        """Whether the secret goes to no host, and into no header, where that of `other` does not.

        What answers from a header that the gateway does not know to be secret gives it away as
        surely as another server does.
        """
        held = all(any(_within(place, wide) for wide in other.places) for place in self.places)
        return held and (self.type, self.header) == (other.type, other.header)


def _within(place: Place, wide: Place) -> bool:
    """A port by itself lets plain http in, which its host without a port does not."""
    return place == wide or (wide == (place.host, None) and is_near(place.host))


def _is_settable(header: str) -> bool:
    return (
        bool(_TOKEN.fullmatch(header))
        and header not in _RESERVED
        and not header.startswith(("x-envoy-", "x-naru-", "x-forwarded-", "proxy-"))
    )


class Credential(Resource):
    """A provider's secret, and how it is put on a request."""

    plural: ClassVar[str] = "credentials"
    write_only: ClassVar[frozenset[str]] = frozenset({"secret"})
    kind: Literal["Credential"]
    spec: CredentialSpec
