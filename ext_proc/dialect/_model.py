"""What every dialect is given, and what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ext_proc.template import Template


@dataclass(frozen=True, slots=True)
class Proxy:
    """What a dialect needs to know of a proxy; see `ext_proc.plan.Plan`."""

    name: str
    model: str | None
    template: Template | None
    params: Mapping[str, Any]
    allow_params: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Request:
    """A request as Envoy hands it over.

    `path` is as the caller sent it, with its query; `content_type` is None if there was none.
    """

    path: str
    content_type: str | None
    body: bytes


class Dialect(Protocol):
    """Turns a request into the body for the upstream.

    Raises:
        CallerFault: the request is wrong.
    """

    def __call__(self, proxy: Proxy, request: Request, /) -> bytes: ...
