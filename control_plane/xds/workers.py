"""The ext_proc workers beside each Envoy, as that Envoy's endpoints, with their health.

An Envoy says in its node metadata which workers it has, each with its node id and its socket:
`{"naru": {"ext_proc": [{"id": …, "path": …}]}}`. It gets one `ClusterLoadAssignment` of its own,
named `ext_proc@<node id>`. A worker that has fallen silent is UNHEALTHY until it has answered; one
that is merely not connected is what it was when it left. Pure.

Source: `envoy/config/endpoint/v3/endpoint.proto`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envoy.config.core.v3.health_check_pb2 import HEALTHY, UNHEALTHY
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from control_plane.compile.model import ENDPOINT, XdsResource
from control_plane.xds.stream import Node, Worker

MAX_REMEMBERED = 1024


class Workers:
    """Reads joins, leaves and silence; `resources` is what all Envoys get, by name."""

    def __init__(self) -> None:
        self.resources: Mapping[str, XdsResource] = {}
        self._envoys: dict[str, tuple[Worker, ...]] = {}
        self._silent: dict[str, None] = {}  # in the order in which they fell silent

    def join(self, node: Node) -> bool:
        """An Envoy joined; whether `resources` changed."""
        if node.workers is None or self._envoys.get(node.id) == node.workers:
            return False
        self._envoys[node.id] = node.workers
        return self._renew((node.id,))

    def leave(self, node: Node) -> bool:
        """The last stream of an Envoy has ended; whether `resources` changed."""
        if self._envoys.pop(node.id, None) is None:
            return False
        return self._renew((node.id,))

    def hear(self, worker: str, silent: bool) -> bool:
        """A node, perhaps a worker, is silent or is not; whether `resources` changed."""
        if silent == (worker in self._silent):
            return False
        if silent:
            self._silent[worker] = None
            if len(self._silent) > MAX_REMEMBERED:
                del self._silent[next(iter(self._silent))]
        else:
            del self._silent[worker]
        return self._renew(
            name
            for name, workers in self._envoys.items()
            if any(found.id == worker for found in workers)
        )

    def _renew(self, names: Iterable[str]) -> bool:
        resources = dict(self.resources)
        for name in names:
            resource = f"ext_proc@{name}"
            if name in self._envoys:
                resources[resource] = self._resource(resource, self._envoys[name])
            else:
                resources.pop(resource, None)
        changed = resources != self.resources
        self.resources = resources
        return changed

    def _resource(self, name: str, workers: Iterable[Worker]) -> XdsResource:
        message = ClusterLoadAssignment(cluster_name=name)
        locality = message.endpoints.add()
        locality.load_balancing_weight.value = 1
        for worker in workers:
            endpoint = locality.lb_endpoints.add()
            endpoint.endpoint.address.pipe.path = worker.path
            endpoint.health_status = UNHEALTHY if worker.id in self._silent else HEALTHY
        return XdsResource.of(ENDPOINT, name, message)
