"""xDS as a client, without I/O: the delta protocol for plans and secrets.

Messages in, messages out; what a response holds goes to the `apply` function of its type, which
takes all of it or refuses it. Wildcard subscriptions: a worker serves every proxy.
https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.rpc.code_pb2 import INVALID_ARGUMENT
from google.rpc.status_pb2 import Status

from ext_proc.errors import PlanRejected

PLAN: Final = "type.googleapis.com/naru.v1.Plan"
SECRET: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type, no password
MAX_DETAIL: Final = 2000
"""The longest text of a NACK, in characters."""

Apply = Callable[[Mapping[str, bytes], Collection[str]], None]
"""Takes the changed resources (name → serialised message) and the names of removed ones.

Raises `PlanRejected`, and has changed nothing then.
"""


@dataclass(slots=True)
class _Subscription:
    """One type: the versions that are in use, and whether a response has been accepted yet."""

    apply: Apply
    versions: dict[str, str] = field(default_factory=dict)
    synced: bool = False


class DeltaClient:
    """The state of all subscriptions; it outlives the connections.

    Args:
        node_id: by which the control plane knows this worker.
        subscriptions: type URL → what to do with its resources, in the order of subscribing.
    """

    def __init__(self, node_id: str, subscriptions: Mapping[str, Apply]) -> None:
        self._node = Node(id=node_id, cluster="ext_proc", user_agent_name="naru-ext-proc")
        self._subscriptions = {url: _Subscription(apply) for url, apply in subscriptions.items()}

    @property
    def synced(self) -> bool:
        """Whether every type has been received and accepted at least once."""
        return all(subscription.synced for subscription in self._subscriptions.values())

    def connected(self) -> list[DeltaDiscoveryRequest]:
        """What to send on a new stream: it says what is known, so that only changes come back."""
        requests = [
            DeltaDiscoveryRequest(type_url=url, initial_resource_versions=subscription.versions)
            for url, subscription in self._subscriptions.items()
        ]
        requests[0].node.CopyFrom(self._node)
        return requests

    def receive(self, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest:
        """Apply a response; the answer is its ACK, or its NACK with the reason."""
        answer = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        try:
            self._apply(response)
        except PlanRejected as error:
            _refuse(answer, str(error))
        except Exception as error:  # a fault of ours must not end the worker, nor pass as an ACK
            _refuse(answer, f"this worker failed: {type(error).__name__}")
        return answer

    def _apply(self, response: DeltaDiscoveryResponse) -> None:
        subscription = self._subscriptions.get(response.type_url)
        if subscription is None:
            raise PlanRejected("this worker has not subscribed to that type")
        changed = [item for item in response.resources if item.HasField("resource")]
        for item in changed:
            if item.resource.type_url != response.type_url:
                raise PlanRejected(f"{item.name} is a {item.resource.type_url}")
        subscription.apply(
            {item.name: item.resource.value for item in changed}, response.removed_resources
        )
        for name in response.removed_resources:
            subscription.versions.pop(name, None)
        subscription.versions.update((item.name, item.version) for item in changed)
        subscription.synced = True


def _refuse(answer: DeltaDiscoveryRequest, reason: str) -> None:
    answer.error_detail.CopyFrom(Status(code=INVALID_ARGUMENT, message=reason[:MAX_DETAIL]))
