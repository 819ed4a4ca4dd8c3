"""The HTTP filters of the listener, in their order, and what a route says to each.

A request passes: `json_to_metadata` (reads `model`; on the /v1 entry route only) →
`set_filter_state` (the proxy's name; clears the route) → `ext_proc` (one message: the body) →
`buffer` (holds the headers until the new body is complete, sets content-length) →
`header_mutation` (strips what the caller sent, sets what ext_proc gave) → `rbac` (the interlock) →
`router`.

The interlock: a route that promises something names its plan, and only a request that carries that
plan's name in the dynamic metadata of ext_proc goes on. Callers cannot set metadata. The listener's
own RBAC lets nothing through, so a route that says nothing is closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as Mutation
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.rbac.v3 import rbac_pb2 as rules
from envoy.config.route.v3.route_components_pb2 import FilterConfig
from envoy.extensions.filters.http.buffer.v3.buffer_pb2 import Buffer
from envoy.extensions.filters.http.ext_proc.v3.ext_proc_pb2 import (
    ExternalProcessor,
    ExtProcPerRoute,
    MetadataOptions,
)
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
    HeaderMutationPerRoute,
    Mutations,
)
from envoy.extensions.filters.http.json_to_metadata.v3.json_to_metadata_pb2 import JsonToMetadata
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm,
)
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from google.protobuf.any_pb2 import Any
from google.protobuf.struct_pb2 import Value
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.compile._newer import set_filter_state
from control_plane.compile._proto import duration, pack
from control_plane.compile.settings import GatewaySettings
from ext_proc import contract
from ext_proc.plan import CredentialPlan

PROXY_STATE: Final = "naru.proxy"
"""Filter state: name of the proxy that a `/v1` request calls."""
NO_MODEL: Final = "!missing"
NOT_JSON: Final = "!invalid"
"""Values of `PROXY_STATE` where the body names no proxy; neither is a DNS label."""
JSON_TYPE: Final = r"(?i)application/json\s*(;.*)?"
"""Content types (RE2) whose body is read as JSON."""
EXT_PROC_CLUSTER: Final = "ext_proc"
"""Defined in the bootstrap: the workers beside this Envoy."""
PLAN_HEADER: Final = "x-naru-plan"
"""On every answer that a plan had a part in: the plan's name, a dot, the hash of its content."""

_REQUEST: Final = "naru.request"
_JSON, _STATE, _EXT_PROC, _BUFFER, _HEADERS, _RBAC = (
    f"envoy.filters.http.{name}"
    for name in (
        "json_to_metadata",
        "set_filter_state",
        "ext_proc",
        "buffer",
        "header_mutation",
        "rbac",
    )
)
_STRIPPED: Final = (
    "authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization",
    "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip",
    "x-envoy-external-address", "x-envoy-internal",
)  # fmt: skip
"""What a caller's request may hold that is none of an upstream's business."""


def http_filters(settings: GatewaySettings) -> Iterator[hcm.HttpFilter]:
    """The chain, the same for every route."""
    yield hcm.HttpFilter(name=_JSON, typed_config=pack(_read_model()), disabled=True)
    yield hcm.HttpFilter(name=_STATE, typed_config=_set_proxy(), disabled=True)
    yield hcm.HttpFilter(name=_EXT_PROC, typed_config=pack(_ext_proc(settings)))
    limit = UInt32Value(value=settings.max_body_bytes)
    yield hcm.HttpFilter(name=_BUFFER, typed_config=pack(Buffer(max_request_bytes=limit)))
    strip = Mutations(request_mutations=[Mutation(remove=name) for name in _STRIPPED])
    yield hcm.HttpFilter(name=_HEADERS, typed_config=pack(HeaderMutation(mutations=strip)))
    yield hcm.HttpFilter(
        name=_RBAC, typed_config=pack(RBAC(rules=rules.RBAC(action=rules.RBAC.ALLOW)))
    )
    router = Router(suppress_envoy_headers=True)
    yield hcm.HttpFilter(name="envoy.filters.http.router", typed_config=pack(router))


def for_plan(plan: str, credential: CredentialPlan | None) -> dict[str, Any]:
    """What a proxy's route says: only what this plan has handled goes on, with its credential."""
    return {
        _RBAC: pack(RBACPerRoute(rbac=RBAC(rules=_handled_by(plan, credential)))),
        _HEADERS: pack(_set_headers(credential)),
    }


def for_refusal() -> dict[str, Any]:
    """What a direct response says: nothing to process, and nothing can go on from it."""
    return {
        _EXT_PROC: pack(ExtProcPerRoute(disabled=True)),
        _RBAC: pack(RBACPerRoute(rbac=RBAC(rules=_anyone()))),
    }


def for_entry() -> dict[str, Any]:
    """What the /v1 entry route says: read the body's `model` and look again.

    The filters are there (the first route fixes the chain) and each follows the route then found.
    """
    return for_refusal() | {
        _JSON: pack(FilterConfig(config=pack(_read_model()))),
        _STATE: pack(FilterConfig(config=_set_proxy())),
    }


def _read_model() -> JsonToMetadata:
    def keep(value: str | None = None) -> JsonToMetadata.KeyValuePair:
        return JsonToMetadata.KeyValuePair(
            metadata_namespace=_REQUEST,
            key="model",
            type=JsonToMetadata.STRING,
            value=None if value is None else Value(string_value=value),
        )

    rule = JsonToMetadata.Rule(
        selectors=[JsonToMetadata.Selector(key="model")],
        on_present=keep(),
        on_missing=keep(NO_MODEL),
        on_error=keep(NOT_JSON),
    )
    content_type = RegexMatcher(regex=JSON_TYPE)
    return JsonToMetadata(
        request_rules=JsonToMetadata.MatchRules(
            rules=[rule], allow_content_types_regex=content_type
        )
    )


def _set_proxy() -> Any:
    return set_filter_state(PROXY_STATE, f"%DYNAMIC_METADATA({_REQUEST}:model)%")


def _ext_proc(settings: GatewaySettings) -> ExternalProcessor:
    mode = ProcessingMode(
        request_header_mode=ProcessingMode.SKIP,
        request_body_mode=ProcessingMode.BUFFERED,
        response_header_mode=ProcessingMode.SKIP,
        response_body_mode=ProcessingMode.NONE,
        request_trailer_mode=ProcessingMode.SKIP,
        response_trailer_mode=ProcessingMode.SKIP,
    )
    names = MetadataOptions.MetadataNamespaces(untyped=[contract.NAMESPACE])
    return ExternalProcessor(
        grpc_service=GrpcService(
            envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=EXT_PROC_CLUSTER)
        ),
        failure_mode_allow=False,
        processing_mode=mode,
        message_timeout=duration(settings.ext_proc_timeout),
        request_attributes=contract.REQUEST_ATTRIBUTES,
        metadata_options=MetadataOptions(receiving_namespaces=names),
        stat_prefix="naru",
    )  # fmt: skip


def _set_headers(credential: CredentialPlan | None) -> HeaderMutationPerRoute:
    version = f"%DYNAMIC_METADATA({contract.NAMESPACE}:{contract.VERSION})%"
    mutations = Mutations(
        request_mutations=[_overwrite("content-type", "application/json")],  # what ext_proc writes
        response_mutations=[_overwrite(PLAN_HEADER, version)],
    )
    if credential is not None:
        value = f"%DYNAMIC_METADATA({contract.NAMESPACE}:{contract.CREDENTIAL})%"
        mutations.request_mutations.append(_overwrite(credential.header, value))
    return HeaderMutationPerRoute(mutations=mutations)


def _overwrite(name: str, value: str) -> Mutation:
    return Mutation(
        append=HeaderValueOption(
            header=HeaderValue(key=name, value=value),
            append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
    )


def _handled_by(plan: str, credential: CredentialPlan | None) -> rules.RBAC:
    conditions = [_metadata(contract.PLAN, ValueMatcher(string_match=StringMatcher(exact=plan)))]
    if credential is not None:
        conditions.append(_metadata(contract.CREDENTIAL, ValueMatcher(present_match=True)))
    permission = rules.Permission(and_rules=rules.Permission.Set(rules=conditions))
    return rules.RBAC(
        action=rules.RBAC.ALLOW,
        policies={
            "handled": rules.Policy(
                permissions=[permission], principals=[rules.Principal(any=True)]
            )
        },
    )


def _metadata(key: str, value: ValueMatcher) -> rules.Permission:
    path = [MetadataMatcher.PathSegment(key=key)]
    matcher = MetadataMatcher(filter=contract.NAMESPACE, path=path, value=value)
    return rules.Permission(sourced_metadata=rules.SourcedMetadata(metadata_matcher=matcher))


def _anyone() -> rules.RBAC:
    policy = rules.Policy(
        permissions=[rules.Permission(any=True)], principals=[rules.Principal(any=True)]
    )
    return rules.RBAC(action=rules.RBAC.ALLOW, policies={"refused-anyway": policy})
