"""The HTTP filters of the listener, in their order.

A request passes: `json_to_metadata` (reads `model`; on the /v1 entry route only) →
`set_filter_state` (the proxy's name; clears the route) → `ext_proc` (one message: the body) →
`buffer` (holds the headers until the new body is complete, sets content-length) →
`header_mutation` (strips what the caller sent) → another (sets what ext_proc gave) → `rbac` (the
interlock) → `router`. The first four and the second `header_mutation` are there only for the routes
that ask for them (`per_route.py`).

The listener's own RBAC lets nothing through, so a route that says nothing is closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as Mutation
from envoy.config.core.v3.backoff_pb2 import BackoffStrategy
from envoy.config.core.v3.base_pb2 import RetryPolicy
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.rbac.v3 import rbac_pb2 as rules
from envoy.extensions.filters.http.buffer.v3.buffer_pb2 import Buffer
from envoy.extensions.filters.http.ext_proc.v3.ext_proc_pb2 import (
    ExternalProcessor,
    MetadataOptions,
)
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
    Mutations,
)
from envoy.extensions.filters.http.json_to_metadata.v3.json_to_metadata_pb2 import JsonToMetadata
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm,
)
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from google.protobuf.any_pb2 import Any
from google.protobuf.struct_pb2 import Value
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.compile._newer import set_filter_state
from control_plane.compile._proto import duration, pack
from control_plane.compile.settings import GatewaySettings
from ext_proc import contract

PROCESSED_FILTER: Final = "naru.processed"
"""A second `header_mutation`: what a request gets that a worker has processed, and its answer."""
JSON_FILTER, STATE_FILTER, EXT_PROC_FILTER, BUFFER_FILTER, HEADER_FILTER, RBAC_FILTER = (
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
PROXY_STATE: Final = "naru.proxy"
"""Filter state: name of the proxy that a `/v1` request calls."""
NO_MODEL: Final = "!missing"
NOT_JSON: Final = "!invalid"
"""Values of `PROXY_STATE` where the body names no proxy; neither is a DNS label."""
JSON_TYPE: Final = r"(?i)application/json\s*(;.*)?"
"""Content types (RE2) whose body is read as JSON."""
_AT_ONCE: Final = BackoffStrategy(base_interval=duration(0.01), max_interval=duration(0.01))
EXT_PROC_CLUSTER: Final = "ext_proc"
"""Defined in the bootstrap: the workers beside this Envoy."""
_REQUEST: Final = "naru.request"
_STRIPPED: Final = (
    "authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization",
    "x-auth-token", "ocp-apim-subscription-key", "openai-organization", "openai-project",
    "anthropic-api-key", "azure-api-key", "x-openai-api-key", "x-authorization", "x-access-token",
    "x-amz-security-token", "x-goog-user-project", "x-http-method-override", "x-original-url",
    "x-envoy-original-dst-host", "x-naru-plan", "x-naru-proxy",
    "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip",
    "x-envoy-external-address", "x-envoy-internal",
)  # fmt: skip
"""What a caller's request may hold that is none of an upstream's business."""


def http_filters(settings: GatewaySettings) -> Iterator[hcm.HttpFilter]:
    """The chain, the same for every route."""
    for name, config in (
        (JSON_FILTER, pack(read_model())),
        (STATE_FILTER, set_proxy()),
        (EXT_PROC_FILTER, pack(_ext_proc(settings))),
        (BUFFER_FILTER, pack(hold_body(settings.max_body_bytes))),
    ):
        yield hcm.HttpFilter(name=name, typed_config=config, disabled=True)
    strip = Mutations(request_mutations=[Mutation(remove=name) for name in _STRIPPED])
    yield hcm.HttpFilter(name=HEADER_FILTER, typed_config=pack(HeaderMutation(mutations=strip)))
    processed = HeaderMutation(most_specific_header_mutations_wins=True)
    yield hcm.HttpFilter(name=PROCESSED_FILTER, typed_config=pack(processed), disabled=True)
    closed = RBAC(rules=rules.RBAC(action=rules.RBAC.ALLOW))
    yield hcm.HttpFilter(name=RBAC_FILTER, typed_config=pack(closed))
    router = Router(suppress_envoy_headers=True)
    yield hcm.HttpFilter(name="envoy.filters.http.router", typed_config=pack(router))


def read_model() -> JsonToMetadata:
    """Reads `model` in a JSON body."""

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


def hold_body(limit: int) -> Buffer:
    """Holds a request until its body, of at most `limit` bytes, is complete."""
    return Buffer(max_request_bytes=UInt32Value(value=limit))


def set_proxy() -> Any:
    """Makes `model` the proxy's name, and has the route looked up again."""
    return set_filter_state(PROXY_STATE, f"%DYNAMIC_METADATA({_REQUEST}:model)%")


def _ext_proc(settings: GatewaySettings) -> ExternalProcessor:
    names = MetadataOptions.MetadataNamespaces(untyped=[contract.NAMESPACE])
    return ExternalProcessor(
        grpc_service=GrpcService(
            envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=EXT_PROC_CLUSTER),
            # What a worker had when it died goes to another; once, for it may be why it died.
            retry_policy=RetryPolicy(
                retry_on="connect-failure,refused-stream,reset",
                num_retries=UInt32Value(value=1),
                retry_back_off=_AT_ONCE,  # its default is up to a second
            ),
        ),
        failure_mode_allow=False,
        processing_mode=request_only(),
        message_timeout=duration(settings.ext_proc_timeout),
        request_attributes=contract.REQUEST_ATTRIBUTES,
        metadata_options=MetadataOptions(receiving_namespaces=names),
        stat_prefix="naru",
    )  # fmt: skip


def request_only() -> ProcessingMode:
    """The whole request body in one message, and no more."""
    return ProcessingMode(
        request_header_mode=ProcessingMode.SKIP,
        request_body_mode=ProcessingMode.BUFFERED,
        response_header_mode=ProcessingMode.SKIP,
        response_body_mode=ProcessingMode.NONE,
        request_trailer_mode=ProcessingMode.SKIP,
        response_trailer_mode=ProcessingMode.SKIP,
    )


def both_ways() -> ProcessingMode:
    """That, and the answer chunk by chunk."""
    mode = request_only()
    mode.response_header_mode = ProcessingMode.SEND
    mode.response_body_mode = ProcessingMode.FULL_DUPLEX_STREAMED
    mode.response_trailer_mode = ProcessingMode.SEND  # that body mode demands it
    return mode
