"""The ext_proc workers beside each Envoy, as that Envoy's endpoints, with their health.

An Envoy says in its node metadata which workers it has, each with its node id and its socket:
`{"naru": {"ext_proc": [{"id": …, "path": …}]}}`. It gets one `ClusterLoadAssignment` of its own,
named `ext_proc@<node id>`. A worker that has fallen silent is UNHEALTHY until it has answered; one
that is merely not connected is what it was when it left. Pure.

Of several streams that name one node, the oldest that lives says which workers there are: whoever
comes later, be it by mistake or with intent, cannot lead a living Envoy away from its own.

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
        self._streams: dict[str, dict[int, tuple[Worker, ...]]] = {}  # by node; the oldest first
        self._silent: dict[str, None] = {}  # in the order in which they fell silent

    def join(self, number: int, node: Node) -> bool:
        """A stream of an Envoy began; whether `resources` changed."""
        if node.workers is None:
            return False
        self._streams.setdefault(node.id, {})[number] = node.workers
        return self._renew((node.id,))

    def leave(self, number: int, node: Node) -> bool:
        """A stream has ended; whether `resources` changed."""
        streams = self._streams.get(node.id, {})
        if streams.pop(number, None) is None:
            return False
        if not streams:
            del self._streams[node.id]
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
            for name, streams in self._streams.items()
            if any(found.id == worker for found in _oldest(streams))
        )

    def _renew(self, names: Iterable[str]) -> bool:
        resources = dict(self.resources)
        for name in names:
            resource = f"ext_proc@{name}"
            if name in self._streams:
                resources[resource] = self._resource(resource, _oldest(self._streams[name]))
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


def _oldest(streams: Mapping[int, tuple[Worker, ...]]) -> tuple[Worker, ...]:
    return next(iter(streams.values()))
