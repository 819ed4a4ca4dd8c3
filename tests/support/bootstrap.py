"""A static bootstrap out of compiled resources, for `envoy --mode validate`."""

from __future__ import annotations

from pathlib import Path

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm,
)

from control_plane.compile import CLUSTER, ENDPOINT, LISTENER, ROUTE, Compiled


def static_bootstrap(compiled: Compiled, extra: tuple[Cluster, ...] = ()) -> Bootstrap:
    """All of `compiled` that Envoy takes, with what would come by RDS and EDS put in place."""
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
    return cluster


def write(bootstrap: Bootstrap, path: Path) -> Path:
    """The bootstrap as `path` (ending in .pb), for `envoy -c`."""
    path.write_bytes(bootstrap.SerializeToString())
    return path
