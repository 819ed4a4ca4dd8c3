"""All that a control plane serves to Envoys, as an observer has it: delta xDS, without I/O.

Listeners are asked for anew on each connection, whatever is known of them: a control plane sends
them only after everything that they need, so they say that all else has come.
https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds
"""

from __future__ import annotations

from typing import Final

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from control_plane.compile.model import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SECRET,
    Compiled,
    XdsResource,
)
from control_plane.xds.stream import OBSERVER
from ext_proc.errors import SnapshotRefused

TYPES: Final = (CLUSTER, ENDPOINT, SECRET, LISTENER, ROUTE)
"""What an Envoy asks for; workers keep plans themselves."""

_WORKERS: Final = "ext_proc@"
"""What the endpoints of an Envoy's workers begin with. A hub makes them of what that Envoy says of
itself, so the one that it starts from does, too; and what was known of their health is old."""

Kept = list[tuple[str, list[tuple[str, str, bytes]]]]
"""For each type its URL, and name, version and content of its resources."""


class Mirror:
    """The state of the subscriptions; it outlives the connections.

    Attributes:
        whole: whether this connection has brought all that there is.
        changes: how often anything has changed.
    """

    def __init__(self, node_id: str) -> None:
        self.whole = False
        self.changes = 0
        self._node = Node(id=node_id, cluster=OBSERVER, user_agent_name="naru-failover")
        self._tables: dict[str, dict[str, XdsResource]] = {}

    def connected(self) -> list[DeltaDiscoveryRequest]:
        """What to send on a new stream: it says what is known, so that only changes come back."""
        self.whole = False
        requests = [
            DeltaDiscoveryRequest(type_url=url, initial_resource_versions=self._versions(url))
            for url in TYPES
        ]
        requests[0].node.CopyFrom(self._node)
        return requests

    def receive(self, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest:
        """Take a response; the answer is its ACK."""
        url = response.type_url
        table = self._tables.setdefault(url, {})
        resources = [
            XdsResource(url, item.name, item.version, item.resource.value)
            for item in response.resources
            if not item.name.startswith(_WORKERS)
        ]
        gone = set(response.removed_resources)
        if url == LISTENER and not self.whole:
            self.whole = True
            gone |= table.keys() - {resource.name for resource in resources}
        for name in gone & table.keys():
            del table[name]
            self.changes += 1
        for resource in resources:
            self.changes += table.get(resource.name) != resource
            table[resource.name] = resource
        return DeltaDiscoveryRequest(type_url=url, response_nonce=response.nonce)

    def ended(self) -> None:
        """The connection is gone; what came last may be half of something, or be refused by now."""
        self.whole = False

    def compiled(self, revision: int) -> Compiled:
        """All of it, to be served."""
        return Compiled(revision, {url: dict(table) for url, table in self._tables.items()})

    def restore(self, kept: Kept) -> None:
        """Begin with what an earlier process kept; to be called before the first `connected`.

        Raises:
            SnapshotRefused: it is not what an Envoy needs.
        """
        if not {LISTENER, ROUTE} <= {url for url, _ in kept} <= set(TYPES):
            raise SnapshotRefused("it holds other types")
        self._tables = {
            url: {name: XdsResource(url, name, version, body) for name, version, body in resources}
            for url, resources in kept
        }

    def _versions(self, url: str) -> dict[str, str]:
        if url == LISTENER:
            return {}
        return {name: resource.version for name, resource in self._tables.get(url, {}).items()}


def kept(compiled: Compiled) -> Kept:
    """What `restore` takes."""
    return [
        (url, [(resource.name, resource.version, resource.body) for resource in table.values()])
        for url, table in compiled.resources.items()
    ]
