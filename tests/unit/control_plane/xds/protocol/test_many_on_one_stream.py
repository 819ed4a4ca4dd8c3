"""Sections "Requesting Multiple Resources on a Single Stream", "Resource updates", "Resource
warming", "Eventual consistency considerations", "TTL", "Aggregated Discovery Service"."""

from __future__ import annotations

from envoy.service.discovery.v3 import discovery_pb2 as pb

from control_plane.compile.model import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    PLAN,
    ROUTE,
    SECRET,
    XdsResource,
)
from control_plane.xds.messages import write
from control_plane.xds.subscription import Response
from tests.unit.control_plane.xds.protocol._peer import Peer


def test_two_resources_by_one_request_or_by_two(peer: Peer) -> None:
    """Requesting Multiple Resources on a Single Stream: {foo, bar} at once, or one after another."""
    peer.serve(ENDPOINT, foo="1", bar="1")
    peer.want(ENDPOINT, "foo", "bar")
    assert [heard.names for heard in peer.talk()] == [["bar", "foo"]]
    peer.join()
    peer.want(ENDPOINT, "foo")
    assert [heard.names for heard in peer.talk()] == [["foo"]]
    peer.want(ENDPOINT, "foo", "bar")
    assert [heard.names for heard in peer.talk()] == [["bar"]]


def test_a_new_name_at_the_same_version(peer: Peer) -> None:
    """Resource updates: Envoy learns of `bar` from CDS, and asks at version X with {foo, bar}."""
    peer.serve(ENDPOINT, foo="1", bar="1")
    peer.want(ENDPOINT, "foo")
    peer.talk()
    assert peer.want(ENDPOINT, "foo", "bar") is None, "neither ACK nor NACK"
    assert [heard.names for heard in peer.talk()] == [["bar"]]


def test_the_race_of_a_new_name_and_a_new_version(peer: Peer) -> None:
    """Resource updates: the request for {foo, bar} at X crosses the response with Y. It is no
    refusal of Y. In state of the world it is stale and gets no response; the ACK of Y has the
    names. In delta it counts at once ("the server must honor changes even if the nonce is stale"),
    and its answer follows the ACK."""
    peer.serve(ENDPOINT, foo="1", bar="1")
    peer.want(ENDPOINT, "foo")
    (x,) = peer.talk()
    peer.serve(ENDPOINT, foo="2", bar="1")
    (y,) = peer.hear()
    assert peer.want(ENDPOINT, "foo", "bar", nonce=x.nonce) is None
    assert peer.hear() == []
    assert peer.stream.subscriptions[ENDPOINT].error == ""
    answer = peer.reply(y)
    assert answer is not None
    assert not answer.error
    assert [heard.names for heard in peer.talk()] == [["bar"]]


def test_many_requests_before_the_first_response(sotw: Peer) -> None:
    """Resource updates: no response is expected for each request; the last one is answered."""
    sotw.serve(ENDPOINT, a="1", b="1", c="1")
    for names in (["a"], ["a", "b"], ["c"]):
        sotw.want(ENDPOINT, *names)
    assert [heard.names for heard in sotw.talk()] == [["c"]]


def test_endpoints_are_sent_again_for_a_cluster_that_warms(peer: Peer) -> None:
    """Resource warming: it ends only when endpoints are supplied after the cluster, even though
    there is no change in them. Envoy names the same endpoints as before, so it cannot ask."""
    peer.serve(ENDPOINT, A="1", B="1")
    peer.serve(CLUSTER, A="1", B="1")
    peer.want(CLUSTER, "*")
    peer.talk()
    peer.want(ENDPOINT, "A", "B")
    peer.talk()
    peer.serve(CLUSTER, A="2", B="1")
    cluster, endpoints = peer.talk()
    assert (cluster.type_url, "A" in cluster.names) == (CLUSTER, True)
    assert (endpoints.type_url, endpoints.names) == (ENDPOINT, ["A"])
    peer.serve(ENDPOINT, A="1", B="2")
    assert [heard.names for heard in peer.talk()] == [["B"]], "and not once more"


def test_endpoints_that_are_out_when_their_cluster_changes(peer: Peer) -> None:
    """Resource warming: those were sent before the cluster, and may have been used for the old."""
    peer.serve(ENDPOINT, A="1")
    peer.serve(CLUSTER, A="1")
    peer.want(CLUSTER, "*")
    peer.talk()
    peer.want(ENDPOINT, "A")
    (early,) = peer.hear()
    peer.serve(CLUSTER, A="2")
    (cluster,) = peer.hear()
    peer.reply(cluster)
    peer.reply(early)
    assert [(h.type_url, h.names) for h in peer.hear()] == [(ENDPOINT, ["A"])]


def test_routes_are_not_sent_again_for_a_listener_that_warms(peer: Peer) -> None:
    """Resource warming: if Envoy knows the routes already it uses those, else it asks."""
    peer.serve(LISTENER, front="1")
    peer.serve(ROUTE, old="1", new="1")
    peer.want(LISTENER, "*")
    peer.want(ROUTE, "old")
    peer.talk()
    peer.serve(LISTENER, front="2")
    assert [heard.type_url for heard in peer.talk()] == [LISTENER]
    peer.want(ROUTE, "old", "new")
    assert [heard.names for heard in peer.talk()] == [["new"]]


def test_the_order_of_the_types(peer: Peer) -> None:
    """Eventual consistency considerations: CDS, EDS (and what else routes name), LDS, RDS, each
    kind only when the client has answered the one before, in whatever order it asked."""
    for type_url in (ROUTE, LISTENER, PLAN, SECRET, ENDPOINT, CLUSTER):
        peer.serve(type_url, a="1")
        peer.want(type_url, "*")
    additive = peer.hear()
    assert [heard.type_url for heard in additive] == [CLUSTER, ENDPOINT, SECRET, PLAN]
    for heard in additive:
        assert peer.hear() == []
        peer.reply(heard)
    assert [heard.type_url for heard in peer.hear()] == [LISTENER, ROUTE]


def test_stale_clusters_go_last(delta: Peer) -> None:
    """Eventual consistency considerations: removed when they are no longer referenced. In state of
    the world a response is the whole, so there the switch alone keeps them (`switch.py`)."""
    delta.serve(CLUSTER, old="1")
    delta.serve(ROUTE, r="to old")
    for type_url in (CLUSTER, ROUTE):
        delta.want(type_url, "*")
    delta.talk()
    delta.serve(ROUTE, r="to new")
    delta.serve(CLUSTER, new="1")
    seen = [(heard.names, heard.removed) for heard in delta.talk()]
    assert seen == [(["new"], ()), (["r"], ()), ([], ("old",))]


def test_nothing_has_a_ttl() -> None:
    """TTL: optional, and not used. What a client has stays when the control plane is away, which is
    the point of last-known-good; so there are no heartbeats, and no wrapping in state of the world."""
    response = Response(CLUSTER, "1", "v", (XdsResource(CLUSTER, "a", "1", b""),))
    delta = pb.DeltaDiscoveryResponse.FromString(write("delta", response))
    assert not delta.resources[0].HasField("ttl")
    sotw = pb.DiscoveryResponse.FromString(write("sotw", response))
    assert [each.type_url for each in sotw.resources] == [CLUSTER]


def test_types_are_walled_off_from_each_other(peer: Peer) -> None:
    """Aggregated Discovery Service: independent sequences, multiplexed by the type URL. (The comment
    of `DeltaDiscoveryRequest`: "a Cluster ACK exists in a completely separate world".)"""
    for type_url in (CLUSTER, SECRET):
        peer.serve(type_url, a="1")
        peer.want(type_url, "*")
    clusters, secrets = peer.hear()
    empty = pb.DiscoveryRequest() if peer.variant == "sotw" else pb.DeltaDiscoveryRequest()
    assert peer.send(CLUSTER, empty, secrets.nonce, "a nonce of another type") is None
    assert peer.stream.subscriptions[CLUSTER].sent is not None
    peer.reply(clusters, error="bad")
    peer.reply(secrets)
    errors = {t: s.error for t, s in peer.stream.subscriptions.items()}
    assert errors == {CLUSTER: "bad", SECRET: ""}


def test_a_type_that_is_not_answered_does_not_hold_up_its_kind(peer: Peer) -> None:
    """Aggregated Discovery Service: an update of secrets goes out while clusters are not answered."""
    for type_url in (CLUSTER, SECRET):
        peer.serve(type_url, a="1")
        peer.want(type_url, "*")
    _, secrets = peer.hear()
    peer.reply(secrets)
    peer.serve(SECRET, a="2")
    assert [heard.type_url for heard in peer.hear()] == [SECRET]
