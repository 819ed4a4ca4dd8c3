"""The plans and secrets of a worker: one immutable table, replaced as a whole.

A request takes the table when it begins and keeps it, so it is handled by one revision even if a
new one arrives meanwhile. Nothing here knows how the plans get here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeVar

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf.message import DecodeError

from ext_proc.credential import header_value
from ext_proc.dialect import DIALECTS, Dialect, Proxy, Request
from ext_proc.errors import CredentialUnavailable, PlanRejected
from ext_proc.plan import CredentialPlan, Plan, decode
from ext_proc.restore import Tokens
from ext_proc.template import Template

_T = TypeVar("_T")
_RESERVED = frozenset(("messages", "model", "prompt", "variables"))


@dataclass(frozen=True, slots=True)
class CompiledPlan:
    """A plan, ready to handle requests.

    `version` is its name, a dot, and the hash of its bytes; `tokens` are restored in the answer.
    """

    name: str
    version: str
    proxy: Proxy
    dialect: Dialect
    credential: CredentialPlan | None
    tokens: Tokens | None

    def rewrite(self, request: Request) -> bytes:
        """The body for the upstream.

        Raises:
            CallerFault: the request is wrong.
        """
        return self.dialect(self.proxy, request)


@dataclass(frozen=True, slots=True)
class PlanTable:
    """All plans by name, and all secrets by name; immutable."""

    plans: Mapping[str, CompiledPlan] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def credential(self, plan: CompiledPlan) -> str | None:
        """The value of the header that `plan` puts on a request, if it puts one.

        Raises:
            CredentialUnavailable: the secret has not arrived.
        """
        if plan.credential is None:
            return None
        value = self.secrets.get(plan.credential.secret)
        if value is None:
            raise CredentialUnavailable
        return value

    def with_plans(self, updates: Mapping[str, bytes], removed: Collection[str]) -> PlanTable:
        """A table with these plans (serialised `naru.v1.Plan`) added or replaced, and some removed.

        Raises:
            PlanRejected: one of them cannot be used; the text names all such.
        """
        compiled: dict[str, CompiledPlan] = {}
        problems: list[str] = []
        for name, body in updates.items():
            try:
                plan = _decode(name, body)
                if plan.lane != "native":  # of those Envoy takes care alone
                    compiled[name] = compile_plan(plan, body)
            except PlanRejected as error:
                problems.append(f"plan {name}: {error}")
        if problems:
            raise PlanRejected("; ".join(problems))
        return replace(self, plans=_merged(self.plans, compiled, removed))

    def with_secrets(self, updates: Mapping[str, bytes], removed: Collection[str]) -> PlanTable:
        """A table with these secrets (serialised SDS `Secret`) added or replaced, and some removed.

        Raises:
            PlanRejected: one of them cannot be used; the text names all such and holds none.
        """
        values: dict[str, str] = {}
        problems: list[str] = []
        for name, body in updates.items():
            try:
                values[name] = _secret(body)
            except PlanRejected as error:
                problems.append(f"secret {name}: {error}")
        if problems:
            raise PlanRejected("; ".join(problems))
        return replace(self, secrets=_merged(self.secrets, values, removed))


def compile_plan(plan: Plan, body: bytes) -> CompiledPlan:
    """Compile a plan; `body` is what it came as.

    Raises:
        PlanRejected: it asks for something that this worker cannot do.
    """
    if plan.dialect not in DIALECTS:
        raise PlanRejected(f"the dialect {plan.dialect} is not known to this worker")
    if reserved := _RESERVED & plan.params.keys():
        raise PlanRejected(f"params cannot set {', '.join(sorted(reserved))}")
    version = f"{plan.name}.{hashlib.blake2b(body, digest_size=8).hexdigest()}"
    try:
        tokens = Tokens(plan.restore) if plan.lane == "duplex" else None
    except ValueError as error:
        raise PlanRejected(f"restore: {error}") from error
    dialect = DIALECTS[plan.dialect]
    return CompiledPlan(plan.name, version, _proxy(plan), dialect, plan.credential, tokens)


def _decode(name: str, body: bytes) -> Plan:
    try:
        plan = decode(body)
    except ValueError as error:
        raise PlanRejected(str(error)) from error
    if plan.name != name:
        raise PlanRejected(f"it calls itself {plan.name}")
    return plan


def _proxy(plan: Plan) -> Proxy:
    return Proxy(
        name=plan.proxy,
        model=plan.model,
        template=None if plan.template is None else Template(plan.template),
        params=MappingProxyType(plan.params),
        allow_params=None if plan.allow_params is None else frozenset(plan.allow_params),
    )


def _secret(body: bytes) -> str:
    try:
        message = Secret.FromString(body)
    except DecodeError:
        raise PlanRejected("not a secret") from None  # the cause could carry its bytes
    return header_value(message.generic_secret.secret.inline_bytes)


def _merged(
    old: Mapping[str, _T], updates: Mapping[str, _T], removed: Collection[str]
) -> Mapping[str, _T]:
    gone = frozenset(removed)  # protobuf's own list would be searched through for every name
    kept = {name: value for name, value in old.items() if name not in gone}
    return MappingProxyType({**kept, **updates})
