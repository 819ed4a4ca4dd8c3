"""The listener. Nothing that changes per proxy is in it, so no edit ever drains a connection."""

from __future__ import annotations

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.protocol_pb2 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
)
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm,
)
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from control_plane.compile._proto import duration, pack
from control_plane.compile.clusters import ADS
from control_plane.compile.filters import http_filters
from control_plane.compile.local_replies import local_replies
from control_plane.compile.model import LISTENER, XdsResource
from control_plane.compile.routes import NAME as ROUTES
from control_plane.compile.settings import GatewaySettings

NAME = "gateway"
_CONNECTION_BUFFER = 1024 * 1024  # bytes held for a slow reader before the sender is paused
_HEADERS_TIMEOUT = 10.0
_STREAM_IDLE = 300.0
_DRAIN = 5.0
_ACCESS_LOG = (
    "%REQ(X-REQUEST-ID)% %REQ(:METHOD)% %PATH(NQ:ORIG_OR_PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% "
    "%RESPONSE_CODE_DETAILS% %DURATION%ms in=%BYTES_RECEIVED% out=%BYTES_SENT% "
    "plan=%ROUTE_NAME% upstream=%UPSTREAM_HOST%\n"
)


def compile_listener(settings: GatewaySettings) -> XdsResource:
    """The one listener, for callers."""
    address = SocketAddress(address=settings.host, port_value=settings.port)
    manager = Filter(
        name="envoy.filters.network.http_connection_manager",
        typed_config=pack(_connection_manager(settings)),
    )
    listener = Listener(
        name=NAME,
        address=Address(socket_address=address),
        filter_chains=[FilterChain(filters=[manager])],
        per_connection_buffer_limit_bytes=UInt32Value(value=_CONNECTION_BUFFER),
    )
    return XdsResource.of(LISTENER, NAME, listener)


def _connection_manager(settings: GatewaySettings) -> hcm.HttpConnectionManager:
    return hcm.HttpConnectionManager(
        stat_prefix=NAME,
        rds=hcm.Rds(config_source=ADS, route_config_name=ROUTES),
        http_filters=list(http_filters(settings)),
        local_reply_config=local_replies(settings),
        access_log=[_access_log()],
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=duration(settings.idle_timeout),
            # `x_api_key` would pass what `x-api-key` does not, and some servers read both as one.
            headers_with_underscores_action=HttpProtocolOptions.DROP_HEADER,
        ),
        http_protocol_options=Http1ProtocolOptions(),
        http2_protocol_options=Http2ProtocolOptions(max_concurrent_streams=UInt32Value(value=1000)),
        stream_idle_timeout=duration(_STREAM_IDLE),
        request_timeout=duration(settings.request_timeout),
        request_headers_timeout=duration(_HEADERS_TIMEOUT),
        drain_timeout=duration(_DRAIN),
        server_name="naru",
        use_remote_address=BoolValue(value=True),
        skip_xff_append=True,
        generate_request_id=BoolValue(value=True),
        always_set_request_id_in_response=True,
        normalize_path=BoolValue(value=True),
        merge_slashes=True,
        path_with_escaped_slashes_action=hcm.HttpConnectionManager.REJECT_REQUEST,
    )


def _access_log() -> AccessLog:
    line = SubstitutionFormatString(text_format_source=DataSource(inline_string=_ACCESS_LOG))
    return AccessLog(
        name="envoy.access_loggers.stdout", typed_config=pack(StdoutAccessLog(log_format=line))
    )
