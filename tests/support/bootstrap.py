"""A static bootstrap out of compiled resources, for `envoy --mode validate`."""

from __future__ import annotations

from pathlib import Path

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.credential_injector.v3.credential_injector_pb2 import (
    CredentialInjector,
)
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm,
)
from envoy.extensions.http.injected_credentials.generic.v3.generic_pb2 import Generic
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from control_plane.compile import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Compiled
from control_plane.compile.filters import EXT_PROC_CLUSTER

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def static_bootstrap(compiled: Compiled, extra: tuple[Cluster, ...] = ()) -> Bootstrap:
    """All of `compiled` that Envoy takes, with what would come by RDS, EDS and SDS put in place."""
    bootstrap = Bootstrap()
    for resource in compiled.resources[LISTENER].values():
        listener = Listener.FromString(resource.body)
        for chain in listener.filter_chains:
            for network_filter in chain.filters:
                manager = hcm.HttpConnectionManager()
                network_filter.typed_config.Unpack(manager)
                routes = compiled.resources[ROUTE][manager.rds.route_config_name]
                manager.route_config.CopyFrom(RouteConfiguration.FromString(routes.body))
                network_filter.typed_config.Pack(manager)
        bootstrap.static_resources.listeners.append(listener)
    for resource in compiled.resources[SECRET].values():
        bootstrap.static_resources.secrets.append(Secret.FromString(resource.body))
    for name, resource in compiled.resources[CLUSTER].items():
        bootstrap.static_resources.clusters.append(_cluster(compiled, name, resource.body))
    bootstrap.static_resources.clusters.extend(extra)
    return bootstrap


def _cluster(compiled: Compiled, name: str, body: bytes) -> Cluster:
    cluster = Cluster.FromString(body)
    if cluster.type == Cluster.EDS:
        cluster.type = Cluster.STATIC
        cluster.ClearField("eds_cluster_config")
        endpoints = compiled.resources[ENDPOINT][name]
        cluster.load_assignment.CopyFrom(ClusterLoadAssignment.FromString(endpoints.body))
    _make_secrets_static(cluster)
    return cluster


def _make_secrets_static(cluster: Cluster) -> None:
    options, injector, generic = HttpProtocolOptions(), CredentialInjector(), Generic()
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].Unpack(options)
    for http_filter in options.http_filters:
        if http_filter.typed_config.Unpack(injector):
            injector.credential.typed_config.Unpack(generic)
            generic.credential.ClearField("sds_config")
            injector.credential.typed_config.Pack(generic)
            http_filter.typed_config.Pack(injector)
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].Pack(options)


def write(bootstrap: Bootstrap, path: Path) -> Path:
    """The bootstrap as `path` (ending in .pb), for `envoy -c`."""
    path.write_bytes(bootstrap.SerializeToString())
    return path


def ext_proc_cluster(*sockets: str) -> Cluster:
    """The cluster that a real bootstrap defines: the workers, on Unix sockets."""
    cluster = Cluster(name=EXT_PROC_CLUSTER, type=Cluster.STATIC)
    cluster.load_assignment.cluster_name = EXT_PROC_CLUSTER
    locality = cluster.load_assignment.endpoints.add()
    for path in sockets:
        locality.lb_endpoints.add().endpoint.address.pipe.path = path
    options = HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].Pack(options)
    return cluster
