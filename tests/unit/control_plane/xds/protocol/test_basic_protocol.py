"""Sections "Basic Protocol Overview", "ACK/NACK and resource type instance version", "ACK", "NACK",
"ACK and NACK semantics summary", "When to send an update". (That each response has a nonce of its
own, its type and the control plane's identifier is held against every response by the peer.)"""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3 import discovery_pb2 as pb

from control_plane.compile.model import CLUSTER, ENDPOINT, LISTENER, ROUTE
from control_plane.xds.errors import NoNode
from control_plane.xds.messages import read, require_node
from tests.unit.control_plane.xds.protocol._peer import Peer

TYPES = pytest.mark.parametrize("type_url", [CLUSTER, ENDPOINT, LISTENER, ROUTE, "x.Custom"])


@TYPES
def test_a_request_is_answered_and_an_ack_is_not(peer: Peer, type_url: str) -> None:
    """Basic Protocol Overview; When to send an update: only when resources have changed."""
    peer.serve(type_url, a="1", b="1")
    peer.want(type_url, "a")
    (heard,) = peer.hear()
    assert (heard.type_url, heard.bodies, heard.removed) == (type_url, {"a": "1"}, ())
    answer = peer.reply(heard)
    assert answer is not None
    assert not answer.error
    assert peer.hear() == []


@TYPES
def test_changes_are_sent_unasked(peer: Peer, type_url: str) -> None:
    """Basic Protocol Overview: additional responses at any time when the resources change."""
    peer.serve(type_url, a="1", b="1")
    peer.want(type_url, "a")
    (first,) = peer.talk()
    peer.serve(type_url, a="1", b="2")
    assert peer.hear() == [], "not asked for"
    peer.serve(type_url, a="2", b="2")
    (second,) = peer.hear()
    assert second.bodies == {"a": "2"}
    assert second.version != first.version


def test_the_node_is_in_the_first_request_only() -> None:
    """Basic Protocol Overview: it is sufficient to check the first message of a stream."""
    later = pb.DeltaDiscoveryRequest(type_url=CLUSTER)
    first = pb.DeltaDiscoveryRequest(type_url=CLUSTER)
    first.node.id = "envoy"
    assert require_node(read("delta", first.SerializeToString())).id == "envoy"
    request = read("delta", later.SerializeToString())
    assert request.node is None, "and that is no error"
    with pytest.raises(NoNode):
        require_node(request)


def test_a_nonce_does_not_survive_its_stream(peer: Peer) -> None:
    """Basic Protocol Overview: the nonce is valid only in the context of one stream. What a client
    still shows of the last one neither answers anything here nor makes its request stale."""
    peer.serve(CLUSTER, a="1")
    peer.want(CLUSTER, "a")
    (old,) = peer.talk()
    peer.join()
    assert peer.want(CLUSTER, "a", nonce=old.nonce + "9", version="of old") is None
    (new,) = peer.hear()
    assert new.names == ["a"]


def test_each_type_has_its_own_version(sotw: Peer) -> None:
    """ACK/NACK and resource type instance version: separate for each type, even in ADS."""
    sotw.serve(CLUSTER, a="1")
    sotw.serve(ENDPOINT, a="1")
    sotw.want(CLUSTER, "*")
    sotw.want(ENDPOINT, "a")
    before = {heard.type_url: heard.version for heard in sotw.talk()}
    sotw.serve(ENDPOINT, a="2")
    (heard,) = sotw.talk()
    assert heard.type_url == ENDPOINT
    sotw.join()
    sotw.want(CLUSTER, "*")
    sotw.want(ENDPOINT, "a")
    after = {heard.type_url: heard.version for heard in sotw.talk()}
    assert after[CLUSTER] == before[CLUSTER], "the version is the resources', not the stream's"
    assert after[ENDPOINT] == heard.version != before[ENDPOINT]


def test_a_nack_with_nothing_accepted_before(peer: Peer) -> None:
    """NACK: the initial version is empty. The refused one is not sent again, the next one is."""
    peer.serve(CLUSTER, a="bad")
    peer.want(CLUSTER, "*")
    (heard,) = peer.hear()
    answer = peer.reply(heard, error="no such thing")
    assert answer is not None
    assert answer.error == "no such thing"
    assert (peer.stream.subscriptions[CLUSTER].version, peer.hear()) == ("", [])
    peer.serve(CLUSTER, a="good")
    (later,) = peer.hear()
    peer.reply(later)
    subscription = peer.stream.subscriptions[CLUSTER]
    assert (subscription.version, subscription.error) == (later.version, "")


def test_a_nack_keeps_the_last_version_and_the_words(peer: Peer) -> None:
    """NACK: it tells the most recent version that the client is using."""
    peer.serve(CLUSTER, a="1")
    peer.want(CLUSTER, "*")
    (first,) = peer.talk()
    peer.serve(CLUSTER, a="bad")
    (second,) = peer.hear()
    peer.reply(second, error="bad")
    subscription = peer.stream.subscriptions[CLUSTER]
    assert (subscription.version, subscription.error) == (first.version, "bad")


def test_a_nack_without_words_is_one(peer: Peer) -> None:
    """NACK: it is the presence of `error_detail` that says so."""
    peer.serve(CLUSTER, a="1")
    peer.want(CLUSTER, "*")
    (heard,) = peer.hear()
    answer = peer.reply(heard, error="")
    assert answer is not None
    assert answer.error == "refused without a reason"


def test_a_nack_of_one_resource_is_a_nack_of_its_response(peer: Peer) -> None:
    """ACK and NACK semantics summary: there is no way to accept half of it. The document leaves
    open what a client keeps (Envoy applies the good ones), so of each of them any change is sent,
    even one back to what the client had before."""
    peer.serve(ENDPOINT, a="1", b="1")
    peer.want(ENDPOINT, "a", "b")
    peer.talk()
    peer.serve(ENDPOINT, a="bad", b="2")
    (refused,) = peer.hear()
    peer.reply(refused, error="a is bad")
    assert peer.hear() == []
    peer.serve(ENDPOINT, a="1", b="2")
    (fixed,) = peer.hear()
    assert fixed.bodies == {"a": "1"}


def test_a_nack_of_a_response_that_is_not_the_last_is_ignored(peer: Peer) -> None:
    """ACK and NACK semantics summary: the nonce says which response is meant. `error_detail` with
    the nonce of one that is answered already, or of none, blames nothing."""
    peer.serve(CLUSTER, a="1")
    peer.want(CLUSTER, "*")
    (first,) = peer.talk()
    peer.serve(CLUSTER, a="2")
    (second,) = peer.hear()
    empty = pb.DiscoveryRequest() if peer.variant == "sotw" else pb.DeltaDiscoveryRequest()
    assert peer.send(CLUSTER, empty, first.nonce, "too late") is None
    assert peer.send(CLUSTER, empty, "no nonce of ours", "what?") is None
    answer = peer.reply(second)
    assert answer is not None
    assert (answer.error, peer.stream.subscriptions[CLUSTER].error) == ("", "")


def test_two_updates_are_never_in_flight(peer: Peer) -> None:
    """When to send an update. The document allows a second response before the first is answered;
    we hold it back, so that no answer can be ambiguous and a slow client gets only the newest."""
    peer.serve(CLUSTER, a="1")
    peer.want(CLUSTER, "*")
    (first,) = peer.hear()
    for body in ("2", "3"):
        peer.serve(CLUSTER, a=body)
        assert peer.hear() == []
    peer.reply(first, error="one is bad")
    (newest,) = peer.hear()
    assert newest.bodies == {"a": "3"}


def test_what_changes_and_changes_back_is_not_sent(peer: Peer) -> None:
    """When to send an update: only when the resources have changed."""
    peer.serve(CLUSTER, a="1")
    peer.want(CLUSTER, "*")
    (first,) = peer.hear()
    peer.serve(CLUSTER, a="2")
    peer.serve(CLUSTER, a="1")
    peer.reply(first)
    assert peer.hear() == []


def test_the_same_request_twice_is_answered_once(sotw: Peer) -> None:
    """When to send an update: a new request supersedes any prior one of the type, and the server
    needs only respond to the latest."""
    sotw.serve(ENDPOINT, a="1", b="1")
    sotw.want(ENDPOINT, "a")
    sotw.want(ENDPOINT, "b")
    (heard,) = sotw.hear()
    assert heard.names == ["b"]
    sotw.want(ENDPOINT, "b")
    sotw.reply(heard)
    assert sotw.hear() == []
