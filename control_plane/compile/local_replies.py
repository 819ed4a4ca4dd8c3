"""What Envoy answers by itself (413, 503, 504, …) as JSON with a stable code.

Replies that ext_proc or a direct response has written are not touched: each rule names response
code details that only Envoy's own failures carry.
Source: Envoy's documentation of response code details.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter, ExtensionFilter
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm,
)
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.compile._proto import pack
from control_plane.compile.address_guard import ADDRESS_POLICY
from control_plane.compile.errors import error_format
from control_plane.compile.settings import MIB, GatewaySettings

_CALLER: Final = "invalid_request_error"
_GATEWAY: Final = "server_error"
_UPSTREAM: Final = "upstream_error"
NO_PROXY: Final = "No proxy answers at this path. Call POST /p/{proxy}, /p/{proxy}/v1/… or /v1/…."


@dataclass(frozen=True, slots=True)
class _Reply:
    """When `condition` (CEL) holds for a local reply, it gets this status and body."""

    condition: str
    status: int
    code: str
    kind: str
    message: str


def local_replies(settings: GatewaySettings) -> hcm.LocalReplyConfig:
    """The rules, first match wins."""
    return hcm.LocalReplyConfig(mappers=[_mapper(reply) for reply in _replies(settings)])


def _replies(settings: GatewaySettings) -> Iterator[_Reply]:
    yield _ADDRESS_REPLY  # before what any other RBAC has said
    yield _Reply(  # without a route nothing is allowed
        f"{_details('rbac_access_denied')} && !has(xds.route_name)", 404,
        "proxy_not_found", _CALLER, NO_PROXY,
    )  # fmt: skip
    yield from _body_replies(settings)
    yield from _PROCESSOR_REPLIES
    yield from _UPSTREAM_REPLIES
    yield from _CONNECTION_REPLIES


def _details(prefix: str) -> str:
    return f"response.code_details.startsWith('{prefix}')"


def _body_replies(settings: GatewaySettings) -> Iterator[_Reply]:
    too_large = _details("request_payload_too_large")
    yield _Reply(
        f"{too_large} && request.path.startsWith('/v1/')", 413, "body_too_large", _CALLER,
        f"The body is larger than the {settings.max_parsed_body_bytes / MIB:g} MiB that /v1 takes. "
        "Call /p/{proxy}/v1 instead, with the proxy's name in the path.",
    )  # fmt: skip
    yield _Reply(
        too_large, 413, "body_too_large", _CALLER,
        f"The body is larger than {settings.max_body_bytes / MIB:g} MiB. Send a smaller one.",
    )  # fmt: skip
    yield _Reply(
        f"{_details('rbac_access_denied')} && request.size == 0", 400, "empty_body", _CALLER,
        "The request has no body. Send a POST with a JSON object.",
    )  # fmt: skip


_ADDRESS_REPLY: Final = _Reply(
    f"response.code_details == 'rbac_access_denied_matched_policy[{ADDRESS_POLICY}]'",
    502, "upstream_address_denied", _UPSTREAM,
    "The upstream's name resolves to an address that the gateway does not send to; nothing was "
    "sent.",
)  # fmt: skip

_PROCESSOR_REPLIES: Final = (
    _Reply(
        _details("rbac_access_denied"), 503, "not_processed", _GATEWAY,
        "The gateway did not process this request, so it was not sent on. Try again.",
    ),
    _Reply(
        _details("failed_to_inject_credential"), 503, "credential_unavailable", _GATEWAY,
        "The credential of this proxy is not available at the moment.",
    ),
    _Reply(
        _details("ext_proc_error_per-message_timeout_exceeded"), 504, "processor_timeout", _GATEWAY,
        "The gateway took too long to process this request, so it was not sent on. Try again.",
    ),
    _Reply(
        f"{_details('ext_proc_error')} || {_details('spurious_message')} || "
        f"{_details('unhandled_message')}", 503, "processor_unavailable", _GATEWAY,
        "The gateway could not process this request or its answer. Try again.",
    ),
)  # fmt: skip

_UPSTREAM_REPLIES: Final = (
    _Reply(
        f"{_details('upstream_reset_before_response_started')} && "
        "response.code_details.contains('TLS_error')", 502, "upstream_tls_failed", _UPSTREAM,
        "No TLS connection to the upstream: its certificate is not trusted, has another name or "
        "has expired, or it does not speak TLS. Nothing was sent.",
    ),
    _Reply(
        f"{_details('upstream_response_timeout')} || {_details('response_timeout')}"
        f" || {_details('upstream_per_try_timeout')}", 504, "upstream_timeout", _UPSTREAM,
        "The upstream did not answer within the time that its Upstream allows (timeouts.request).",
    ),
    _Reply(
        f"{_details('upstream_reset_before_response_started')} && "
        "(response.code_details.contains('connection_failure') || "
        "response.code_details.contains('connection_timeout'))",
        503, "upstream_unavailable", _UPSTREAM,
        "The upstream could not be connected to. Try again later.",
    ),
    _Reply(
        f"{_details('upstream_reset_before_response_started')} && "
        "response.code_details.contains('overflow')", 503, "upstream_overloaded", _UPSTREAM,
        "More requests are under way to the upstream than its Upstream allows (connections).",
    ),
    _Reply(
        _details("upstream_reset_before_response_started"), 502, "upstream_reset", _UPSTREAM,
        "The upstream closed the connection before it answered.",
    ),
    _Reply(
        f"{_details('no_healthy_upstream')} || {_details('cluster_not_found')} || "
        f"{_details('maintenance_mode')}", 503, "upstream_unavailable", _UPSTREAM,
        "No server of the upstream can be reached. Try again later.",
    ),
    _Reply(
        f"{_details('overload')} || {_details('upstream_overload')}", 503, "overloaded", _GATEWAY,
        "The gateway is overloaded. Try again later.",
    ),
)  # fmt: skip

_CONNECTION_REPLIES: Final = (
    _Reply(
        f"{_details('request_overall_timeout')} || {_details('request_header_timeout')} || "
        f"{_details('stream_idle_timeout')}", 408, "request_timeout", _CALLER,
        "The request did not arrive within the time allowed.",
    ),
    _Reply(
        f"{_details('http1.')} || {_details('http2.')} || {_details('path_normalization_failed')}"
        f" || {_details('missing_host_header')} || {_details('invalid')}",
        400, "bad_http", _CALLER, "The request is not valid HTTP.",
    ),
    _Reply(
        _details("route_not_found"), 404, "not_found", _CALLER,
        "Nothing answers here. Call POST /p/{proxy}, /p/{proxy}/v1/… or /v1/….",
    ),
)  # fmt: skip


def _mapper(reply: _Reply) -> hcm.ResponseMapper:
    expression = ExpressionFilter(expression=reply.condition)
    return hcm.ResponseMapper(
        filter=AccessLogFilter(
            extension_filter=ExtensionFilter(
                name="envoy.access_loggers.extension_filters.cel", typed_config=pack(expression)
            )
        ),
        status_code=UInt32Value(value=reply.status),
        body_format_override=error_format(reply.code, reply.message, reply.kind),
    )
