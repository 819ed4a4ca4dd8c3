"""`Upstream`: where requests go."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import cached_property
from typing import Annotated, ClassVar, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from control_plane.resources._base import Duration, Key, Name, Part, Resource
from control_plane.resources._hosts import canonical, ip_of

Dialect = Literal["openai"]


class Address(NamedTuple):
    """An upstream's URL, taken apart.

    `path` has no '/' at its end: `https://h/v1/` gives `/v1`, `https://h` gives an empty one.
    """

    tls: bool
    host: str
    port: int
    path: str

    @property
    def is_ip(self) -> bool:
        return ip_of(self.host) is not None

    @property
    def name(self) -> str:
        """The host in the form that hosts are compared in."""
        return canonical(self.host)

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def place(self) -> str:
        """`host:port`, as `allowedHosts` has it."""
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


def parse_url(url: str) -> Address:
    """Take an http(s) URL apart; raises ValueError with the reason."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("must start with http:// or https://")
    if not parts.hostname or not parts.hostname.isascii():
        raise ValueError("needs a host name in ASCII (an international one in its xn-- form)")
    if any(not "!" <= character <= "~" for character in url):
        raise ValueError("must hold no space, control or non-ASCII character")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password; register a Credential instead")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or fragment")
    if "%" in parts.hostname:
        raise ValueError("must hold no '%' in its host: no IPv6 zone, nothing percent-encoded")
    if not _NETLOC.fullmatch(parts.netloc) or ("[" in parts.netloc) != (":" in parts.hostname):
        raise ValueError("must name a host or host:port, an IPv6 address in brackets")
    host = canonical(parts.hostname) + "." * parts.hostname.endswith(".")
    tls = parts.scheme == "https"
    port = parts.port if parts.port is not None else (443 if tls else 80)
    if port == 0:
        raise ValueError("must not use port 0")
    return Address(tls, host, port, parts.path.rstrip("/"))


def _checked_url(url: str) -> str:
    parse_url(url)
    return url


class Timeouts(Part):
    """How long Envoy waits.

    Attributes:
        connect: for a connection to the upstream.
        idle: how long an unused connection is kept; must be below the server's own keep-alive, or
            requests are lost on connections that the server closes at that moment.
        request: for the whole answer, streamed answers included.
    """

    connect: Duration = timedelta(seconds=2)
    idle: Duration = timedelta(seconds=4)
    request: Duration = timedelta(seconds=300)

    @model_validator(mode="after")
    def _bounded(self) -> Timeouts:
        for name, most in (("connect", 60), ("idle", 3600), ("request", 3600)):
            seconds = getattr(self, name).total_seconds()
            if not 0.001 <= seconds <= most:
                raise ValueError(f"{name} must be between 1ms and {most}s")
        return self


_NETLOC = re.compile(r"(\[[^\[\]@]+\]|[^\[\]:@]+)(:[0-9]*)?", re.ASCII)
_PEM = re.compile(
    r"(\s*-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----)+\s*", re.ASCII
)


def _only_certificates(value: str) -> str:
    """Whether each is a certificate is Envoy's to say: it knows what it can use."""
    if not _PEM.fullmatch(value):
        raise ValueError("must be PEM certificates (-----BEGIN CERTIFICATE-----) and nothing else")
    return value


class Tls(Part):
    """How the server of an https URL is checked; name and certificate always are.

    Attributes:
        ca: PEM certificates to trust instead of the system's; a private key is refused, for
            everything here can be read again.
        serverName: the name to ask for and to check, where it is not the URL's host.
    """

    ca: Annotated[str, Field(max_length=256 * 1024), AfterValidator(_only_certificates)] | None = (
        None
    )
    serverName: Annotated[str, AfterValidator(canonical)] | None = None


class Connections(Part):
    """Circuit breakers: more at once than this get 503 `upstream_overloaded`."""

    maxConnections: int = Field(default=1024, ge=1, le=1_000_000)
    maxPending: int = Field(default=1024, ge=1, le=1_000_000)
    maxRequests: int = Field(default=4096, ge=1, le=1_000_000)


class UpstreamSpec(Part):
    """See `Upstream`."""

    dialect: Dialect
    url: Annotated[str, Field(max_length=2048), AfterValidator(_checked_url)]
    credential: Name | None = None
    timeouts: Timeouts = Timeouts()
    connections: Connections = Connections()
    tls: Tls | None = None

    @model_validator(mode="after")
    def _tls_needs_https(self) -> UpstreamSpec:
        if self.tls is not None and not self.address.tls:
            raise ValueError("tls is set but the url starts with http://; use https://")
        return self

    @property
    def vouches(self) -> bool:
        """Whether it says itself by what its server is known: who writes it can name any other."""
        return self.tls is not None and (self.tls.ca or self.tls.serverName) is not None

    @cached_property
    def address(self) -> Address:
        return parse_url(self.url)


class Upstream(Resource):
    """Where requests go: a provider or a model service, spoken to in one dialect.

    `url` is the base that an SDK of that dialect would be given (`https://api.openai.com/v1`).
    """

    plural: ClassVar[str] = "upstreams"
    kind: Literal["Upstream"]
    spec: UpstreamSpec

    def references(self) -> frozenset[Key]:
        name = self.spec.credential
        return frozenset() if name is None else frozenset({Key("credentials", name)})
