"""What the e2e tests serve: a listener by RDS, routes, EDS clusters; made with xds-protos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ConfigSource
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm,
)

from control_plane.compile.model import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    PLAN,
    ROUTE,
    XdsResource,
)
from control_plane.compile.model import Compiled as Compiled

V3 = 2  # ApiVersion.V3


def compiled(revision: int, *resources: XdsResource) -> Compiled:
    """A target with these resources; every type is there, if empty."""
    tables: dict[str, dict[str, XdsResource]] = {
        t: {} for t in (CLUSTER, ENDPOINT, LISTENER, ROUTE)
    }
    for resource in resources:
        tables.setdefault(resource.type_url, {})[resource.name] = resource
    return Compiled(revision, tables)


def listener(name: str = "front", routes: str = "routes", *, port: int = 0) -> XdsResource:
    message = Listener(name=name)
    message.address.socket_address.address = "127.0.0.1"
    message.address.socket_address.port_value = port
    manager = message.filter_chains.add().filters.add(name="http").typed_config
    manager.Pack(_manager(routes))
    return XdsResource.of(LISTENER, name, message)


def api_listener(name: str, routes: str) -> XdsResource:
    """What gRPC's own resolver asks for under the name of its target."""
    message = Listener(name=name)
    message.api_listener.api_listener.Pack(_manager(routes))
    return XdsResource.of(LISTENER, name, message)


def routes(
    clusters: Mapping[str, str],
    answers: Mapping[str, str] | None = None,
    *,
    name: str = "routes",
    regex: bool = False,
) -> XdsResource:
    """Prefix → cluster, and prefix (or regular expression) → text that Envoy answers itself."""
    message = RouteConfiguration(name=name)
    host = message.virtual_hosts.add(name="all", domains=["*"])
    for prefix, text in (answers or {}).items():
        route = host.routes.add()
        if regex:
            route.match.safe_regex.regex = prefix
        else:
            route.match.prefix = prefix
        route.direct_response.status = 200
        route.direct_response.body.inline_string = text
    for prefix, cluster in clusters.items():
        route = host.routes.add()
        route.match.prefix = prefix
        route.route.cluster = cluster
    return XdsResource.of(ROUTE, name, message)


def cluster(name: str, *, timeout: int = 1) -> XdsResource:
    """A cluster with endpoints by EDS; a negative `timeout` (seconds) is refused by Envoy."""
    message = Cluster(name=name, type=Cluster.EDS)
    message.connect_timeout.seconds = timeout
    message.eds_cluster_config.eds_config.CopyFrom(_ads())
    return XdsResource.of(CLUSTER, name, message)


def endpoints(name: str, ports: Iterable[int]) -> XdsResource:
    message = ClusterLoadAssignment(cluster_name=name)
    locality = message.endpoints.add()
    locality.locality.region = "here"  # gRPC wants one, and a weight
    locality.load_balancing_weight.value = 1
    for port in ports:
        address = locality.lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = "127.0.0.1", port
    return XdsResource.of(ENDPOINT, name, message)


def plan(name: str, body: bytes, version: str) -> XdsResource:
    return XdsResource(PLAN, name, version, body)


def _manager(route_config: str) -> hcm.HttpConnectionManager:
    manager = hcm.HttpConnectionManager(stat_prefix="front")
    manager.rds.route_config_name = route_config
    manager.rds.config_source.CopyFrom(_ads())
    manager.http_filters.add(name="router").typed_config.Pack(Router())
    return manager


def _ads() -> ConfigSource:
    source = ConfigSource(resource_api_version=V3)
    source.ads.SetInParent()
    return source
