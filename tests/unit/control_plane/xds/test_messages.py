"""Between protobuf and plain values. Section "Basic Protocol Overview"."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3 import discovery_pb2 as pb

from control_plane.compile.model import CLUSTER
from control_plane.xds.delta import DeltaRequest
from control_plane.xds.errors import BadNodeId, BadRequest, NoNode, NotAMessage, NoType, TooMuch
from control_plane.xds.messages import MAX_NODE_ID, read, require_node, write
from control_plane.xds.sotw import SotwRequest
from control_plane.xds.stream import Node, Variant, Worker
from control_plane.xds.subscription import Response
from tests.unit.control_plane.xds._clients import resource


def test_a_state_of_the_world_request() -> None:
    message = pb.DiscoveryRequest(
        type_url=CLUSTER, resource_names=["a", "b"], version_info="v", response_nonce="n"
    )
    message.node.id, message.node.cluster = "me", "here"
    message.node.user_agent_name = "envoy"
    message.node.user_agent_build_version.version.major_number = 1
    message.node.user_agent_build_version.version.minor_number = 40
    request = read("sotw", message.SerializeToString())
    assert request.node == Node("me", "here", "envoy/1.40.0")
    assert request.body == SotwRequest(frozenset({"a", "b"}), "v", "n", None)
    message.error_detail.message = "no"
    assert read("sotw", message.SerializeToString()).body == SotwRequest(
        frozenset({"a", "b"}), "v", "n", "no"
    )


def test_a_delta_request() -> None:
    message = pb.DeltaDiscoveryRequest(
        type_url=CLUSTER,
        resource_names_subscribe=["a"],
        resource_names_unsubscribe=["b"],
        initial_resource_versions={"c": "1"},
        response_nonce="n",
    )
    message.error_detail.SetInParent()
    request = read("delta", message.SerializeToString())
    assert request.node is None
    assert request.body == DeltaRequest(frozenset("a"), frozenset("b"), {"c": "1"}, "n", "")


@pytest.mark.parametrize("variant", ["sotw", "delta"])
@pytest.mark.parametrize(
    ("data", "error"), [(b"\xff\xff garbage", NotAMessage), (b"", NoType), (b"\x0a\x00", NoType)]
)
def test_garbage(variant: Variant, data: bytes, error: type[BadRequest]) -> None:
    with pytest.raises(error):
        read(variant, data)


def test_a_first_request_without_a_node() -> None:
    message = pb.DiscoveryRequest(type_url=CLUSTER).SerializeToString()
    with pytest.raises(NoNode, match=r"node\.id"):
        require_node(read("sotw", message))


@pytest.mark.parametrize("fits", [True, False])
def test_a_socket_whose_path_no_envoy_takes(fits: bool) -> None:
    path = "/" + "ü" * 53 + ("" if fits else "x")
    message = pb.DiscoveryRequest(type_url=CLUSTER)
    message.node.id = "me"
    message.node.metadata.update({"naru": {"ext_proc": [{"id": "w", "path": path}]}})
    if fits:
        found = read("sotw", message.SerializeToString()).node
        assert found == Node("me", workers=(Worker("w", path),))
        return
    with pytest.raises(TooMuch, match="107 bytes in the path"):
        read("sotw", message.SerializeToString())


def test_responses() -> None:
    response = Response(CLUSTER, "n", "v", (resource(CLUSTER, "a", "body"),), ("gone",))
    sotw = pb.DiscoveryResponse.FromString(write("sotw", response))
    assert (sotw.version_info, sotw.type_url, sotw.nonce) == ("v", CLUSTER, "n")
    assert [(r.type_url, r.value) for r in sotw.resources] == [(CLUSTER, b"body")]
    delta = pb.DeltaDiscoveryResponse.FromString(write("delta", response))
    assert (delta.system_version_info, delta.type_url, delta.nonce) == ("v", CLUSTER, "n")
    assert list(delta.removed_resources) == ["gone"]
    (sent,) = delta.resources
    assert (sent.name, sent.version) == ("a", response.resources[0].version)
    assert (sent.resource.type_url, sent.resource.value) == (CLUSTER, b"body")


@pytest.mark.parametrize("variant", ["sotw", "delta"])
@pytest.mark.parametrize("name", ["\x1b[31m", "a/b\n", "a\0c", "\x7f", "\u202e", "gät"])
def test_an_id_that_cannot_be_shown_is_refused(variant: Variant, name: str) -> None:
    with pytest.raises(BadNodeId):
        read(variant, _named(variant, name))


@pytest.mark.parametrize("variant", ["sotw", "delta"])
def test_an_id_is_no_longer_than_a_hosts_name(variant: Variant) -> None:
    longest = "n" * MAX_NODE_ID
    assert require_node(read(variant, _named(variant, longest))).id == longest
    with pytest.raises(TooMuch, match="253"):
        read(variant, _named(variant, longest + "n"))


def test_what_is_shown_of_a_node_steers_no_terminal() -> None:
    message = pb.DiscoveryRequest(type_url=CLUSTER)
    message.node.id, message.node.cluster = "me", "\x1b[31mred"
    message.node.user_agent_name = "a\nb"
    node = require_node(read("sotw", message.SerializeToString()))
    assert (node.cluster, node.user_agent) == ("?[31mred", "a?b")


def _named(variant: Variant, name: str) -> bytes:
    kind = pb.DiscoveryRequest if variant == "sotw" else pb.DeltaDiscoveryRequest
    message = kind(type_url=CLUSTER)
    message.node.id = name
    return bytes(message.SerializeToString())
