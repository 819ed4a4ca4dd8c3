"""`Proxy`: what callers call."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field

from control_plane.resources._base import Key, Name, Part, Resource, dns_label

NOT_PARAMS: Final = frozenset(
    {"model", "messages", "prompt", "stream", "stream_options", "variables"}
)
"""Fields of an OpenAI-style body that are not params: each has a place of its own."""


def _params(value: dict[str, Any]) -> dict[str, Any]:
    misplaced = sorted(NOT_PARAMS & value.keys())
    if misplaced:
        raise ValueError(f"{', '.join(misplaced)} cannot be a param; it has a field of its own")
    return value


def _param_names(value: tuple[str, ...]) -> tuple[str, ...]:
    _params(dict.fromkeys(value))
    return value


def _template_reference(value: str) -> str:
    name, at, version = value.partition("@")
    if at and version != "latest":
        raise ValueError("only NAME and NAME@latest can be referred to so far")
    dns_label(name)
    return value


Params = Annotated[dict[str, Any], AfterValidator(_params), Field(max_length=64)]
"""Fields that are added to the upstream's request body, such as `temperature`."""


Token = Annotated[str, Field(min_length=3, max_length=64, pattern=r"^\S(.*\S)?$")]
"""What stands for a text in a prompt. Not shorter, or it would be found where nobody put it."""


class ProxyUpstream(Part):
    """One upstream of a proxy.

    Attributes:
        weight: share of the calls among upstreams of one priority.
        priority: 0 is tried first, then 1, …
        model: replaces the caller's `model`.
        credential: wins over the upstream's own.
    """

    name: Name
    weight: int = Field(default=1, ge=1, le=1000)
    priority: int = Field(default=0, ge=0, le=15)
    model: str | None = Field(default=None, min_length=1, max_length=256)
    credential: Name | None = None


class ProxySpec(Part):
    """See `Proxy`.

    Attributes:
        upstreams: exactly one so far.
        template: the prompt; without one, requests pass with their own messages.
        params: win over the template's.
        allowParams: which params a caller may set; those win over all others. If it is not given,
            none beside a template, and any without one.
        restore: for each token what it becomes in the answer. The prompt says `[[SHOP]]`, the
            provider never learns the name, and the caller reads it.
    """

    upstreams: tuple[ProxyUpstream, ...] = Field(min_length=1, max_length=1, strict=False)
    template: Annotated[str, AfterValidator(_template_reference)] | None = None
    params: Params = Field(default_factory=dict)
    allowParams: (
        Annotated[tuple[str, ...], AfterValidator(_param_names), Field(max_length=64, strict=False)]
        | None
    ) = None
    restore: Annotated[dict[Token, str], Field(max_length=64)] = Field(default_factory=dict)

    @property
    def template_name(self) -> str | None:
        return None if self.template is None else self.template.partition("@")[0]


class Proxy(Resource):
    """What callers call: upstream, credential, prompt and params under one name."""

    plural: ClassVar[str] = "proxies"
    kind: Literal["Proxy"]
    spec: ProxySpec

    def references(self) -> frozenset[Key]:
        keys = {Key("upstreams", upstream.name) for upstream in self.spec.upstreams}
        keys |= {Key("credentials", u.credential) for u in self.spec.upstreams if u.credential}
        if self.spec.template_name is not None:
            keys.add(Key("templates", self.spec.template_name))
        return frozenset(keys)
