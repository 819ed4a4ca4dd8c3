"""A plan: all that ext_proc needs to handle the requests of one proxy.

Plain data that knows nothing of resources, etcd or Kubernetes: the control plane's compiler writes
it, the workers read it. On the wire it is the JSON of `Plan` in the one field of
`message naru.v1.Plan { bytes json = 1; }`, which is wire-identical to `google.protobuf.BytesValue`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from google.protobuf.wrappers_pb2 import BytesValue

Lane = Literal["native", "request", "duplex"]


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One prompt message; `content` is minijinja source."""

    role: str
    content: str


class TemplatePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A prompt template: `variables` is the JSON Schema (2020-12) of the variables object."""

    name: str
    messages: tuple[Message, ...]
    variables: dict[str, Any]


class CredentialPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a credential is found and where it goes.

    `secret` names the SDS resource, which holds the whole value of the header `header`.
    """

    secret: str
    header: str


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the requests of one proxy are handled.

    `name` is the name of the Envoy route that this plan belongs to (`menu-copy#5f3a`); `params` are
    already merged (the proxy's over the template's); `allow_params` are those a caller may set, all
    if it is None. `model` replaces the caller's, if it is given. `restore` says for each token what
    it becomes in the answer.
    """

    name: str
    proxy: str
    lane: Lane
    why: str
    dialect: str
    model: str | None = None
    template: TemplatePlan | None = None
    params: dict[str, Any] = {}
    allow_params: tuple[str, ...] | None = ()
    credential: CredentialPlan | None = None
    restore: dict[str, str] = {}


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Plan)


def encode(plan: Plan) -> bytes:
    """The bytes of a `naru.v1.Plan` message."""
    return BytesValue(value=_encoder.encode(plan)).SerializeToString(deterministic=True)


def decode(body: bytes) -> Plan:
    """The plan in a `naru.v1.Plan` message.

    Raises:
        ValueError: the bytes are not such a message, or hold something else than a plan.
    """
    try:
        return _decoder.decode(BytesValue.FromString(body).value)
    except Exception as error:  # protobuf's DecodeError and msgspec's errors share no base
        raise ValueError(f"not a plan: {error}") from error
