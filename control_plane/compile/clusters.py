"""Upstreams → Envoy clusters and their endpoints.

A cluster's name ends in a hash of its content, so a cluster never changes under its name: a refused
one is never one that live routes use. An upstream named by IP address gets its endpoint by EDS, one
named by DNS is resolved by Envoy.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.base_pb2 import DataSource, TransportSocket
from envoy.config.core.v3.config_source_pb2 import (
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
)
from envoy.config.core.v3.protocol_pb2 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    UpstreamHttpProtocolOptions,
)
from envoy.config.core.v3.protocol_pb2 import (
    HttpProtocolOptions as CommonHttpOptions,
)
from envoy.config.endpoint.v3.endpoint_components_pb2 import (
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.filters.http.credential_injector.v3.credential_injector_pb2 import (
    CredentialInjector,
)
from envoy.extensions.filters.http.upstream_codec.v3.upstream_codec_pb2 import UpstreamCodec
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from envoy.extensions.http.injected_credentials.generic.v3.generic_pb2 import Generic
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, UpstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.compile._proto import duration, extension, pack
from control_plane.compile.address_guard import address_guard
from control_plane.compile.model import CLUSTER, ENDPOINT, XdsResource, digest
from control_plane.compile.settings import GatewaySettings
from control_plane.resources import Upstream
from control_plane.resources._hosts import ip_of
from control_plane.resources.addresses import AddressPolicy
from control_plane.resources.upstream import Address as UpstreamAddress
from ext_proc.plan import CredentialPlan

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def denied(upstream: Upstream, settings: GatewaySettings) -> str | None:
    """Why an upstream, although it is stored, must not become a cluster; None if it may."""
    why = _denied(settings.addresses, upstream.spec.address)
    return None if why is None else str(settings.addresses.problem(upstream))


@lru_cache(maxsize=4096)
def _denied(policy: AddressPolicy, address: UpstreamAddress) -> str | None:
    return policy.denied(address)  # asked again for every proxy, so remembered


def compile_upstream(
    upstream: Upstream, settings: GatewaySettings, credential: CredentialPlan | None = None
) -> tuple[XdsResource, ...]:
    """The cluster of an upstream and, where its address is an IP, the endpoint.

    With a credential the cluster itself puts it on every request, in place of what is there. The
    cluster is named `menu-writer#1a2b3c4d5e`: the upstream, and a hash of all of this.
    """
    cluster, endpoints = _cluster(upstream, settings), _endpoints(upstream)
    own = list(_own_filters(upstream, settings, credential))
    if own:
        options = _http_options(upstream)
        options.http_filters.extend((*own, _CODEC))
        cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(pack(options))
    content = cluster.SerializeToString(deterministic=True)
    content += endpoints.SerializeToString(deterministic=True)
    name = f"{upstream.metadata.name}#{digest(content, size=5)}"
    cluster.name = name
    endpoints.cluster_name = name
    if upstream.spec.address.is_ip:
        return XdsResource.of(CLUSTER, name, cluster), XdsResource.of(ENDPOINT, name, endpoints)
    cluster.load_assignment.CopyFrom(endpoints)
    return (XdsResource.of(CLUSTER, name, cluster),)


def _cluster(upstream: Upstream, settings: GatewaySettings) -> Cluster:
    spec = upstream.spec
    cluster = Cluster(
        alt_stat_name=upstream.metadata.name,
        connect_timeout=duration(spec.timeouts.connect),
        circuit_breakers=_circuit_breakers(upstream),
        typed_extension_protocol_options={_HTTP_OPTIONS: pack(_http_options(upstream))},
    )
    if spec.address.is_ip:
        cluster.type = Cluster.EDS
        cluster.eds_cluster_config.eds_config.CopyFrom(ADS)
    else:
        cluster.type = Cluster.STRICT_DNS
        # Not AUTO, which takes IPv6 wherever a name has it, also where no IPv6 leads out.
        cluster.dns_lookup_family = Cluster.V4_PREFERRED
    if spec.address.tls:
        cluster.transport_socket.CopyFrom(_tls(upstream, settings))
    return cluster


ADS = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
"""“From the stream that this resource came by.”"""


def _endpoints(upstream: Upstream) -> ClusterLoadAssignment:
    address = upstream.spec.address
    socket = SocketAddress(address=address.host, port_value=address.port)
    endpoint = LbEndpoint(endpoint=Endpoint(address=Address(socket_address=socket)))
    return ClusterLoadAssignment(endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])])


def _circuit_breakers(upstream: Upstream) -> CircuitBreakers:
    most = upstream.spec.connections
    return CircuitBreakers(
        thresholds=[
            CircuitBreakers.Thresholds(
                max_connections=UInt32Value(value=most.maxConnections),
                max_pending_requests=UInt32Value(value=most.maxPending),
                max_requests=UInt32Value(value=most.maxRequests),
                max_retries=UInt32Value(value=max(3, most.maxRequests // 5)),
            )
        ]
    )


def _http_options(upstream: Upstream) -> HttpProtocolOptions:
    options = HttpProtocolOptions(
        common_http_protocol_options=CommonHttpOptions(
            idle_timeout=duration(upstream.spec.timeouts.idle)
        ),
    )
    if upstream.spec.address.tls:
        options.upstream_http_protocol_options.CopyFrom(UpstreamHttpProtocolOptions(auto_sni=False))
        options.auto_config.http_protocol_options.CopyFrom(Http1ProtocolOptions())
        options.auto_config.http2_protocol_options.CopyFrom(Http2ProtocolOptions())
    else:
        options.explicit_http_config.http_protocol_options.CopyFrom(Http1ProtocolOptions())
    return options


_CODEC = HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=pack(UpstreamCodec()))


def _own_filters(
    upstream: Upstream, settings: GatewaySettings, credential: CredentialPlan | None
) -> Iterator[HttpFilter]:
    """The cluster's own filters, which run when a server has been chosen, once per attempt."""
    if not upstream.spec.address.is_ip:
        yield from address_guard(upstream.spec.address, settings.addresses)
    if credential is not None:
        yield _injecting(credential)


def _injecting(credential: CredentialPlan) -> HttpFilter:
    """Without the secret a request ends there, with an error."""
    secret = SdsSecretConfig(name=credential.secret, sds_config=ADS)
    generic = Generic(credential=secret, header=credential.header)
    injector = CredentialInjector(
        overwrite=True, credential=extension("envoy.http.injected_credentials.generic", generic)
    )
    return HttpFilter(name="envoy.filters.http.credential_injector", typed_config=pack(injector))


def _tls(upstream: Upstream, settings: GatewaySettings) -> TransportSocket:
    spec = upstream.spec
    name = (spec.tls and spec.tls.serverName) or spec.address.name
    ca = (
        DataSource(inline_string=spec.tls.ca)
        if spec.tls and spec.tls.ca
        else DataSource(filename=settings.system_ca)
    )
    by_ip = ip_of(name) is not None
    kind = SubjectAltNameMatcher.IP_ADDRESS if by_ip else SubjectAltNameMatcher.DNS
    validation = CertificateValidationContext(
        trusted_ca=ca,
        match_typed_subject_alt_names=[
            SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))
        ],
    )
    context = UpstreamTlsContext(
        sni="" if by_ip else name,
        common_tls_context=CommonTlsContext(
            validation_context=validation, alpn_protocols=["h2", "http/1.1"]
        ),
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=pack(context))
