"""Between protobuf and the plain values of the subscription: nothing else knows the messages.

Source: `envoy/service/discovery/v3/discovery.proto`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from control_plane.xds.delta import DeltaRequest
from control_plane.xds.errors import BadNodeId, NoNode, NotAMessage, NotSupported, NoType, TooMuch
from control_plane.xds.sotw import SotwRequest
from control_plane.xds.stream import Node, Variant, Worker
from control_plane.xds.subscription import MAX_NAMES, Response

_IDENTIFIER = "naru"
MAX_TEXT = 4096
"""Characters in a name, a type or a worker's id: all are kept as long as the stream lives."""
MAX_NODE_ID = 253
"""As long as a host's name may be (RFC 1035, section 2.3.4). People read it, and etcd's keys."""
_MAX_SHOWN = 256  # of the node's cluster and user agent, which are there for people only
MAX_WORKERS = 256
MAX_SOCKET_PATH = 107
"""Bytes: `sockaddr_un.sun_path` holds no more, and an Envoy refuses the endpoint."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of either variant; `node` is None where the client left it out."""

    node: Node | None
    type_url: str
    body: SotwRequest | DeltaRequest


def read(variant: Variant, data: bytes) -> Request:
    """One serialised request.

    Raises:
        BadRequest: it is no such message, or says neither who nor what.
    """
    return _read_sotw(data) if variant == "sotw" else _read_delta(data)


def write(variant: Variant, response: Response) -> bytes:
    """One serialised response; the resources' bodies are copied as they are."""
    return _write_sotw(response) if variant == "sotw" else _write_delta(response)


def require_node(request: Request) -> Node:
    """The node that the first request of a stream must name."""
    if request.node is None:
        raise NoNode
    return request.node


def _read_sotw(data: bytes) -> Request:
    try:
        message = DiscoveryRequest.FromString(data)
    except DecodeError as error:
        raise NotAMessage("DiscoveryRequest") from error
    _refuse_locators(message.resource_locators)
    body = SotwRequest(
        names=_names(message.resource_names),
        version=message.version_info,
        nonce=message.response_nonce,
        error=message.error_detail.message if message.HasField("error_detail") else None,
    )
    return Request(_node(message), _type_url(message), body)


def _read_delta(data: bytes) -> Request:
    try:
        message = DeltaDiscoveryRequest.FromString(data)
    except DecodeError as error:
        raise NotAMessage("DeltaDiscoveryRequest") from error
    _refuse_locators(message.resource_locators_subscribe)
    _names(message.initial_resource_versions)
    body = DeltaRequest(
        subscribe=_names(message.resource_names_subscribe),
        unsubscribe=_names(message.resource_names_unsubscribe),
        initial=dict(message.initial_resource_versions),
        nonce=message.response_nonce,
        error=message.error_detail.message if message.HasField("error_detail") else None,
    )
    return Request(_node(message), _type_url(message), body)


def _names(names: Collection[str]) -> frozenset[str]:
    """Counted before anything is made of them."""
    if len(names) > MAX_NAMES:
        raise TooMuch("names of a type", MAX_NAMES)
    if max(map(len, names), default=0) > MAX_TEXT:
        raise TooMuch("characters in a name", MAX_TEXT)
    return frozenset(names)


def _refuse_locators(locators: Sequence[object]) -> None:
    """Without this a client that asks by locators alone would be taken for a wildcard."""
    if locators:
        raise NotSupported("resource locators (dynamic parameters)")


def _type_url(message: DiscoveryRequest | DeltaDiscoveryRequest) -> str:
    if not message.type_url:
        raise NoType
    if len(message.type_url) > MAX_TEXT:
        raise TooMuch("characters in type_url", MAX_TEXT)
    return str(message.type_url)


def _node(message: DiscoveryRequest | DeltaDiscoveryRequest) -> Node | None:
    node = message.node
    if not node.id:
        return None
    if len(node.id) > MAX_NODE_ID:
        raise TooMuch("characters in node.id", MAX_NODE_ID)
    if not (node.id.isascii() and node.id.isprintable()):
        raise BadNodeId
    version = node.user_agent_version
    if node.HasField("user_agent_build_version"):
        number = node.user_agent_build_version.version
        version = f"{number.major_number}.{number.minor_number}.{number.patch}"
    agent = "/".join(filter(None, (node.user_agent_name, version)))
    return Node(node.id, _shown(node.cluster), _shown(agent), _workers(node.metadata))


def _shown(text: str) -> str:
    """Without what would steer a terminal."""
    return "".join(each if each.isprintable() else "?" for each in text[:_MAX_SHOWN])


def _workers(metadata: Struct) -> tuple[Worker, ...] | None:
    """The workers in `{"naru": {"ext_proc": [{"id": …, "path": …}]}}`; see `workers.py`."""
    ours = metadata.fields["naru"].struct_value if "naru" in metadata.fields else Struct()
    if "ext_proc" not in ours.fields:
        return None
    each = (item.struct_value.fields for item in ours.fields["ext_proc"].list_value.values)
    found = [Worker(one["id"].string_value, one["path"].string_value) for one in each]
    if max((len(worker.path.encode()) for worker in found), default=0) > MAX_SOCKET_PATH:
        raise TooMuch("bytes in the path of a worker's socket", MAX_SOCKET_PATH)
    return tuple(
        worker for worker in found[:MAX_WORKERS] if worker.path and len(worker.id) <= MAX_TEXT
    )


def _write_sotw(response: Response) -> bytes:
    message = DiscoveryResponse(
        version_info=response.version, type_url=response.type_url, nonce=response.nonce
    )
    message.control_plane.identifier = _IDENTIFIER
    add = message.resources.add
    for resource in response.resources:
        add(type_url=resource.type_url, value=resource.body)
    return bytes(message.SerializeToString())


def _write_delta(response: Response) -> bytes:
    message = DeltaDiscoveryResponse(
        system_version_info=response.version,
        type_url=response.type_url,
        nonce=response.nonce,
        removed_resources=response.removed,
    )
    message.control_plane.identifier = _IDENTIFIER
    add = message.resources.add
    for resource in response.resources:
        body = add(name=resource.name, version=resource.version).resource
        body.type_url, body.value = resource.type_url, resource.body
    return bytes(message.SerializeToString())
