"""Sections "How the client specifies what resources to return", "Grouping Resources into
Responses", "Deleting Resources", "Knowing When a Requested Resource Does Not Exist",
"Unsubscribing From Resources", for both variants."""

from __future__ import annotations

import pytest

from control_plane.compile.model import CLUSTER, ENDPOINT, LISTENER, PLAN, ROUTE
from tests.unit.control_plane.xds.protocol._peer import Peer

FULL = pytest.mark.parametrize("type_url", [CLUSTER, LISTENER])
OTHER = pytest.mark.parametrize("type_url", [ENDPOINT, ROUTE, PLAN])


@FULL
def test_the_documents_example(peer: Peer, type_url: str) -> None:
    """How the client specifies what resources to return: the four steps, in both variants."""
    peer.serve(type_url, A="1", B="1")
    peer.want(type_url)
    assert [heard.names for heard in peer.talk()] == [["A", "B"]], "unset is *"
    if peer.variant == "delta":  # it goes on with the legacy wildcard, and says what it adds
        peer.wanted[type_url] = frozenset("*")
    peer.want(type_url, "*", "A")
    assert "A" in {name for heard in peer.talk() for name in heard.names}, "asked for by name now"
    peer.serve(type_url, A="1", B="2")
    assert "B" in peer.talk()[0].names, "still a wildcard"
    peer.want(type_url, "A")
    peer.talk()
    peer.serve(type_url, A="1", B="3")
    assert peer.talk() == [], "B is unsubscribed from"
    peer.want(type_url)
    peer.talk()
    peer.serve(type_url, A="4", B="4")
    assert peer.talk() == [], "unset is nothing once something was named"


def test_a_star_first_is_no_legacy_wildcard(peer: Peer) -> None:
    """How the client specifies what resources to return: "whether it be `*` or any other name"."""
    peer.serve(CLUSTER, A="1")
    peer.want(CLUSTER, "*")
    peer.talk()
    peer.want(CLUSTER)
    peer.talk()
    peer.serve(CLUSTER, A="2")
    assert peer.talk() == []


def test_a_star_works_for_our_own_types(peer: Peer) -> None:
    """How the client specifies what resources to return. The document gives `*` to LDS and CDS;
    for the others the server may choose, and workers ask for their plans with it."""
    peer.serve(PLAN, a="1", b="1")
    peer.want(PLAN, "*")
    assert [heard.names for heard in peer.talk()] == [["a", "b"]]


def test_what_was_sent_unasked_is_sent_again_when_asked_for(peer: Peer) -> None:
    """How the client specifies what resources to return: "even if it previously sent those
    resources without having been asked for them"."""
    peer.serve(CLUSTER, A="1", B="1")
    peer.want(CLUSTER, "*")
    peer.talk()
    peer.want(CLUSTER, "*", "B")
    (heard,) = peer.talk()
    assert "B" in heard.names


def test_a_wildcard_that_comes_back_gets_all(peer: Peer) -> None:
    """How the client specifies what resources to return: it is newly asked for."""
    peer.serve(CLUSTER, A="1", B="1")
    peer.want(CLUSTER, "*")
    peer.talk()
    peer.want(CLUSTER, "A")
    peer.talk()
    peer.want(CLUSTER, "*", "A")
    assert "B" in {name for heard in peer.talk() for name in heard.names}


@FULL
def test_full_state_in_sotw_only_the_change_in_delta(peer: Peer, type_url: str) -> None:
    """Grouping Resources into Responses."""
    peer.serve(type_url, A="1", B="1")
    peer.want(type_url, "*")
    peer.talk()
    peer.serve(type_url, A="1", B="2")
    (heard,) = peer.talk()
    assert heard.names == (["A", "B"] if peer.variant == "sotw" else ["B"])


@OTHER
def test_of_other_types_only_the_change_in_both(peer: Peer, type_url: str) -> None:
    """Grouping Resources into Responses: in state of the world the document allows more."""
    peer.serve(type_url, A="1", B="1")
    peer.want(type_url, "A", "B")
    peer.talk()
    peer.serve(type_url, A="1", B="2")
    assert [heard.names for heard in peer.talk()] == [["B"]]


@FULL
def test_deleting(peer: Peer, type_url: str) -> None:
    """Deleting Resources: by absence, or by name."""
    peer.serve(type_url, A="1", B="1")
    peer.want(type_url, "*")
    peer.talk()
    peer.serve(type_url, A="1")
    (heard,) = peer.talk()
    assert (heard.names, heard.removed) == ((["A"], ()) if peer.variant == "sotw" else ([], ("B",)))
    peer.serve(type_url)
    (heard,) = peer.talk()
    assert (heard.names, heard.removed) == ([], () if peer.variant == "sotw" else ("A",))


@OTHER
def test_of_other_types_only_delta_can_delete(peer: Peer, type_url: str) -> None:
    """Deleting Resources: in state of the world by the parent alone, so nothing is sent."""
    peer.serve(type_url, A="1", B="1")
    peer.want(type_url, "A", "B")
    peer.talk()
    peer.serve(type_url, A="1")
    heard = peer.talk()
    assert [each.removed for each in heard] == ([] if peer.variant == "sotw" else [("B",)])


def test_the_answer_to_a_removal_ends_it(delta: Peer) -> None:
    """Deleting Resources: a client refuses or accepts it; it is not said twice, and what comes back
    is new, even in the version that the client had."""
    delta.serve(CLUSTER, A="1")
    delta.want(CLUSTER, "*")
    delta.talk()
    for error in (None, "I want to keep it"):
        delta.serve(CLUSTER)
        (heard,) = delta.hear()
        assert heard.removed == ("A",)
        delta.reply(heard, error)
        assert delta.hear() == []
        delta.serve(CLUSTER, A="1")
        (heard,) = delta.talk()
        assert heard.names == ["A"]


def test_the_last_resource_of_a_type_goes(delta: Peer) -> None:
    """Deleting Resources: the type stays, with nothing in it, and its last nonce is answered."""
    delta.serve(ENDPOINT, A="1")
    delta.want(ENDPOINT, "A")
    delta.talk()
    delta.serve(ENDPOINT)
    (heard,) = delta.hear()
    answer = delta.reply(heard)
    assert answer is not None
    assert not answer.error
    delta.serve(ENDPOINT, A="1")
    assert [each.names for each in delta.talk()] == [["A"]]


@pytest.mark.parametrize("type_url", [CLUSTER, ENDPOINT, LISTENER, ROUTE, PLAN])
def test_what_does_not_exist_yet(peer: Peer, type_url: str) -> None:
    """Knowing When a Requested Resource Does Not Exist: said at once in delta, silence in state of
    the world (the client's own timeout decides); the request is remembered in both."""
    peer.serve(type_url, other="1")
    peer.want(type_url, "A")
    heard = peer.talk()
    assert [each.removed for each in heard] == ([] if peer.variant == "sotw" else [("A",)])
    peer.serve(type_url, other="1", A="1")
    assert [each.names for each in peer.talk()] == [["A"]]


def test_that_it_does_not_exist_waits_for_nothing(delta: Peer) -> None:
    """Knowing When a Requested Resource Does Not Exist: a real removal waits until the client has
    answered its routes (see "Eventual consistency considerations"); this takes nothing away."""
    delta.serve(CLUSTER, old="1")
    delta.serve(ROUTE, r="1")
    delta.want(CLUSTER, "old")
    delta.talk()
    delta.want(ROUTE, "r")
    (route,) = delta.hear()
    delta.want(CLUSTER, "old", "on-demand")
    delta.serve(CLUSTER)
    (heard,) = delta.hear()
    assert heard.removed == ("on-demand",)
    delta.reply(heard)
    assert delta.hear() == []
    delta.reply(route)
    assert [each.removed for each in delta.hear()] == [("old",)]


def test_before_anything_is_known_nothing_is_said_to_be_missing(peer: Peer) -> None:
    """Knowing When a Requested Resource Does Not Exist. A control plane that has only just started
    does not know yet: it says nothing, rather than take away what clients live on."""
    peer.want(CLUSTER, "A")
    peer.want(PLAN, "*")
    assert peer.hear() == []
    peer.serve(CLUSTER, A="1")
    assert [each.names for each in peer.talk()] == [["A"]]


def test_a_type_that_nobody_serves(peer: Peer) -> None:
    """Knowing When a Requested Resource Does Not Exist: of a type that is not ours (runtime layers,
    scoped routes, any type_url) there is nothing, so nobody waits for its initial fetch timeout.
    It is no error: clients ask for more than a server has."""
    peer.serve(CLUSTER, A="1")
    peer.want("type.googleapis.com/envoy.service.runtime.v3.Runtime", "layer")
    heard = peer.talk()
    assert [each.removed for each in heard] == ([] if peer.variant == "sotw" else [("layer",)])
    peer.want("x.Whatever", "*")
    (heard_all,) = peer.talk()
    assert (heard_all.names, heard_all.removed) == ([], ())


def test_unsubscribing(peer: Peer) -> None:
    """Unsubscribing From Resources: no response is needed, and no update follows."""
    peer.serve(ENDPOINT, A="1", B="1")
    peer.want(ENDPOINT, "A", "B")
    peer.talk()
    peer.want(ENDPOINT, "A")
    assert peer.hear() == []
    peer.serve(ENDPOINT, A="1", B="2")
    assert peer.hear() == []


def test_what_is_unsubscribed_from_before_it_is_sent(peer: Peer) -> None:
    """Unsubscribing From Resources: the newest request counts."""
    peer.serve(ENDPOINT, A="1")
    peer.want(ENDPOINT, "A")
    (first,) = peer.hear()
    peer.serve(ENDPOINT, A="2", B="2")
    peer.wanted[ENDPOINT] = frozenset("A")
    peer.nonces[ENDPOINT] = first.nonce
    peer.want(ENDPOINT, "B")
    peer.reply(first)
    assert [each.names for each in peer.talk()] == [["B"]]


def test_subscribing_again_after_unsubscribing(peer: Peer) -> None:
    """Unsubscribing From Resources: it is new again, in whatever version."""
    peer.serve(ENDPOINT, A="1")
    for names in (["A"], [], ["A"]):
        peer.want(ENDPOINT, *names)
        heard = peer.talk()
    assert [each.names for each in heard] == [["A"]]


def test_gone_while_it_was_unsubscribed_from_and_out(peer: Peer) -> None:
    """Deleting Resources. The response crosses with "no more" and "again", so the client may take
    what has gone meanwhile: it must be told. (Found by `test_any_order.py`.)"""
    peer.serve(CLUSTER, A="1", B="1")
    peer.want(CLUSTER, "*", "A")
    (heard,) = peer.hear()
    peer.want(CLUSTER)
    peer.serve(CLUSTER, B="1")
    peer.want(CLUSTER, "*")
    peer.reply(heard)
    later = [(each.names, each.removed) for each in peer.talk()]
    assert later == ([(["B"], ())] if peer.variant == "sotw" else [(["B"], ()), ([], ("A",))])
