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
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    Resource,
)
from google.protobuf.message import DecodeError
from google.rpc.code_pb2 import INVALID_ARGUMENT
from google.rpc.status_pb2 import Status

from ext_proc.errors import PlanRejected, SnapshotRefused

PLAN: Final = "type.googleapis.com/naru.v1.Plan"
SECRET: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type, no password
MAX_DETAIL: Final = 2000
"""The longest text of a NACK, in characters."""

Apply = Callable[[Mapping[str, bytes], Collection[str]], None]
"""Takes the changed resources (name → serialised message) and the names of removed ones.

Raises `PlanRejected`, and has changed nothing then.
"""


Known = list[tuple[str, list[bytes]]]
"""For each type its URL and its resources, each a serialised `Resource`."""
_BULK: Final = (256, 256 * 1024)
"""Resources or bytes of a response from which on it may be only a part of what is there."""


@dataclass(slots=True)
class _Subscription:
    """One type: what is in use, and whether a response has been accepted yet.

    Attributes:
        known: the resources themselves, serialised, if they are to be kept.
        bulky: whether the last response was so large that another may follow.
    """

    apply: Apply
    versions: dict[str, str] = field(default_factory=dict)
    known: dict[str, bytes] = field(default_factory=dict)
    synced: bool = False
    bulky: bool = False


class DeltaClient:
    """The state of all subscriptions; it outlives the connections.

    Args:
        node_id: by which the control plane knows this worker.
        subscriptions: type URL → what to do with its resources, in the order of subscribing.
        keep: whether to keep the resources, for `known`; as much memory again as they take.
    """

    def __init__(
        self, node_id: str, subscriptions: Mapping[str, Apply], *, keep: bool = False
    ) -> None:
        self._keep = keep
        self._node = Node(id=node_id, cluster="ext_proc", user_agent_name="naru-ext-proc")
        self._subscriptions = {url: _Subscription(apply) for url, apply in subscriptions.items()}

    @property
    def synced(self) -> bool:
        """Whether every type has been received and accepted at least once."""
        return all(subscription.synced for subscription in self._subscriptions.values())

    @property
    def more_may_follow(self) -> bool:
        """Whether the control plane may be in the midst of sending: it sends a large set in parts,
        each after the ACK of the one before, and nothing marks the last."""
        return any(subscription.bulky for subscription in self._subscriptions.values())

    def known(self) -> Known:
        """All that is in use."""
        return [(url, list(found.known.values())) for url, found in self._subscriptions.items()]

    def restore(self, known: Known) -> None:
        """Begin with what an earlier process knew; to be called before the first `connected`.

        Raises:
            SnapshotRefused: it cannot be used.
        """
        responses = [_response(url, resources) for url, resources in known]
        if {response.type_url for response in responses} != self._subscriptions.keys():
            raise SnapshotRefused("it holds other types")
        for response in responses:
            try:
                self._apply(response)
            except PlanRejected as error:
                raise SnapshotRefused(str(error)[:MAX_DETAIL]) from None
            self._subscriptions[response.type_url].bulky = False

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
        subscription.bulky = _is_bulky(response)
        if self._keep:
            self._remember(subscription, response, changed)

    def _remember(
        self,
        subscription: _Subscription,
        response: DeltaDiscoveryResponse,
        changed: list[Resource],
    ) -> None:
        for name in response.removed_resources:
            subscription.known.pop(name, None)
        subscription.known.update((item.name, item.SerializeToString()) for item in changed)


def _is_bulky(response: DeltaDiscoveryResponse) -> bool:
    most, largest = _BULK
    return len(response.resources) >= most or response.ByteSize() >= largest


def _response(url: str, resources: list[bytes]) -> DeltaDiscoveryResponse:
    try:
        return DeltaDiscoveryResponse(
            type_url=url, resources=[Resource.FromString(body) for body in resources]
        )
    except DecodeError:
        raise SnapshotRefused("it holds something else") from None


def _refuse(answer: DeltaDiscoveryRequest, reason: str) -> None:
    answer.error_detail.CopyFrom(Status(code=INVALID_ARGUMENT, message=reason[:MAX_DETAIL]))
