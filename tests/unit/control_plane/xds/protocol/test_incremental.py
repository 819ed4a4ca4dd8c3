"""Section "Incremental xDS" and its parts, and the comments of `DeltaDiscoveryRequest`:
https://github.com/envoyproxy/envoy/blob/main/api/envoy/service/discovery/v3/discovery.proto"""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3 import discovery_pb2 as pb

from control_plane.compile.model import CLUSTER, ENDPOINT, PLAN
from control_plane.xds.errors import NotSupported, TooMuch
from control_plane.xds.messages import MAX_TEXT, read
from control_plane.xds.stream import Variant
from control_plane.xds.subscription import MAX_NAMES
from tests.unit.control_plane.xds._clients import resource
from tests.unit.control_plane.xds.protocol._peer import Peer


def version(type_url: str, name: str, body: str) -> str:
    return resource(type_url, name, f"{name} {body}").version


def request(*, subscribe: str = "", unsubscribe: str = "") -> pb.DeltaDiscoveryRequest:
    return pb.DeltaDiscoveryRequest(
        resource_names_subscribe=subscribe.split(), resource_names_unsubscribe=unsubscribe.split()
    )


@pytest.mark.parametrize("names", [("*",), (), ("same", "changed", "removed")])
def test_a_reconnect(delta: Peer, names: tuple[str, ...]) -> None:
    """Incremental xDS: `initial_resource_versions`. What is the same is not sent, what changed and
    what is new is, what was removed meanwhile is said to be. No state of the old stream counts."""
    delta.serve(CLUSTER, same="1", changed="2", new="1")
    known = ("same", "changed", "removed")
    delta.want(CLUSTER, *names, initial={name: version(CLUSTER, name, "1") for name in known})
    heard = delta.talk()
    sent = {name for each in heard for name in each.names}
    assert sent == ({"changed", "new"} if "same" not in names else {"changed"})
    assert [name for each in heard for name in each.removed] == ["removed"]


def test_a_reconnect_with_everything_is_silent(delta: Peer) -> None:
    """Incremental xDS: "to avoid resending them over the network"."""
    delta.serve(CLUSTER, a="1")
    delta.want(CLUSTER, "*", initial={"a": version(CLUSTER, "a", "1")})
    assert delta.talk() == []
    delta.serve(CLUSTER, a="2")
    assert [each.names for each in delta.talk()] == [["a"]]


def test_initial_versions_of_what_is_not_asked_for(delta: Peer) -> None:
    """Incremental xDS: "the reconnecting client must provide the server with all resource names it
    is interested in", so a name that is only in the versions is none of these."""
    delta.serve(CLUSTER, a="1")
    delta.want(CLUSTER, "a", initial={"b": "1"})
    assert [(each.names, each.removed) for each in delta.talk()] == [(["a"], ())]


def test_initial_versions_are_of_the_first_message_of_each_type(delta: Peer) -> None:
    """Comment of `initial_resource_versions`: "in ADS, the first message of each type_url"; in any
    later message they do not belong, and are ignored: the server tracks what the client has."""
    for type_url in (CLUSTER, PLAN):
        delta.serve(type_url, a="1")
        delta.want(type_url, "*", initial={"a": version(type_url, "a", "1")})
    assert delta.talk() == []
    message = request(subscribe="a")
    message.initial_resource_versions["a"] = version(PLAN, "a", "1")
    delta.send(PLAN, message)
    assert [each.names for each in delta.talk()] == [["a"]], "asked for again, so sent again"


def test_lazy_loading(delta: Peer) -> None:
    """Incremental xDS: clusters on demand, one name after another, each sent once."""
    delta.serve(CLUSTER, **{f"c{i}": "1" for i in range(50)})
    for i in range(20):
        delta.wanted[CLUSTER] = frozenset()
        delta.want(CLUSTER, f"c{i}")
        assert [each.names for each in delta.talk()] == [[f"c{i}"]]
    delta.serve(CLUSTER, **{f"c{i}": "2" for i in range(50)})
    (heard,) = delta.talk()
    assert len(heard.names) == 20


def test_a_spontaneous_request_is_no_answer(delta: Peer) -> None:
    """Incremental xDS: without `response_nonce` it adds or removes names, and nothing more."""
    delta.serve(CLUSTER, a="1", b="1")
    delta.want(CLUSTER, "a")
    (first,) = delta.hear()
    assert delta.want(CLUSTER, "a", "b") is None
    assert delta.hear() == [], "the first is still out"
    assert delta.reply(first) is not None
    assert [each.names for each in delta.talk()] == [["b"]]


def test_an_answer_may_change_the_subscription(delta: Peer) -> None:
    """Incremental xDS: the two roles of a request, in one. A NACK's names count as well."""
    delta.serve(CLUSTER, a="1", b="1")
    delta.want(CLUSTER, "a")
    (first,) = delta.hear()
    answer = delta.send(CLUSTER, request(subscribe="b", unsubscribe="a"), first.nonce, "bad")
    assert answer is not None
    assert answer.error == "bad"
    assert [each.names for each in delta.talk()] == [["b"]]


def test_subscribed_and_unsubscribed_in_one_message(delta: Peer) -> None:
    """The document leaves open which of the two wins: we take the names away after we add them, as
    Envoy does to say "nothing" in a first message that would else be a wildcard."""
    delta.serve(CLUSTER, a="1", b="1")
    delta.send(CLUSTER, request(subscribe="a b", unsubscribe="a"))
    assert [each.names for each in delta.talk()] == [["b"]]


def test_a_name_twice_in_one_message(delta: Peer) -> None:
    """Subscribing to Resources: names are a set."""
    delta.serve(CLUSTER, a="1")
    delta.send(CLUSTER, request(subscribe="a a x x"))
    (heard,) = delta.talk()
    assert (heard.names, heard.removed) == (["a"], ("x",))


def test_subscribing_again_to_what_does_not_exist(delta: Peer) -> None:
    """Subscribing to Resources, and Knowing When a Requested Resource Does Not Exist: every time."""
    delta.serve(CLUSTER, a="1")
    for _ in range(2):
        delta.send(CLUSTER, request(subscribe="x"))
        (heard,) = delta.talk()
        assert heard.removed == ("x",)


def test_unsubscribing_from_what_is_unknown(delta: Peer) -> None:
    """Unsubscribing from Resources: phantoms are ignored, even in the first message of a type,
    which then asks for nothing."""
    delta.serve(CLUSTER, a="1")
    delta.send(CLUSTER, request(unsubscribe="x"))
    assert delta.talk() == []
    delta.send(CLUSTER, request(unsubscribe="a * x"))
    assert delta.talk() == []
    delta.send(CLUSTER, request(subscribe="a"))
    assert [each.names for each in delta.talk()] == [["a"]]


@pytest.mark.parametrize("exists", [True, False])
def test_unsubscribing_from_a_name_beside_a_wildcard(delta: Peer, exists: bool) -> None:
    """Unsubscribing from Resources, the one exception: the server must answer with the resource if
    the wildcard has it, else with its name among the removed."""
    delta.serve(CLUSTER, **({"a": "1"} if exists else {"b": "1"}))
    delta.want(CLUSTER, "*", "a")
    delta.talk()
    delta.want(CLUSTER, "*")
    (heard,) = delta.talk()
    assert (heard.names, heard.removed) == ((["a"], ()) if exists else ([], ("a",)))


def test_a_name_that_only_the_wildcard_has_cannot_be_unsubscribed_from(delta: Peer) -> None:
    """Unsubscribing From Resources: "it can only unsubscribe from the wildcard as a whole"."""
    delta.serve(CLUSTER, a="1")
    delta.want(CLUSTER, "*")
    delta.talk()
    delta.send(CLUSTER, request(unsubscribe="a"))
    delta.serve(CLUSTER, a="2")
    assert [each.names for each in delta.talk()] == [["a"]]


def test_the_version_of_the_system_is_there_to_look_at(delta: Peer) -> None:
    """Incremental xDS: `system_version_info` is for debugging only. It tells the move and the
    routes that the response was made in; each resource has a version of its own."""
    delta.serve(CLUSTER, a="1")
    delta.want(CLUSTER, "*")
    (heard,) = delta.talk()
    assert heard.version == "1.1"


def test_names_are_opaque(peer: Peer) -> None:
    """Resource names. `xdstp://` names and collections (globs) are names like any other: none of
    ours is called so, and a glob is no wildcard. No resource of ours has an alias."""
    name = "xdstp://authority/envoy.config.cluster.v3.Cluster/folder/*"
    peer.serve(CLUSTER, a="1")
    peer.want(CLUSTER, name)
    heard = peer.talk()
    assert [each.removed for each in heard] == ([] if peer.variant == "sotw" else [(name,)])
    peer.serve(CLUSTER, **{"a": "1", name: "1"})
    assert [each.names for each in peer.talk()] == [[name]]


@pytest.mark.parametrize("variant", ["sotw", "delta"])
def test_locators_are_refused(variant: Variant) -> None:
    """Comment of `resource_locators_subscribe`: names with dynamic parameters. They are not served,
    and a client that uses nothing else must not be taken for a wildcard: it gets UNIMPLEMENTED."""
    sotw, delta = pb.DiscoveryRequest(type_url=CLUSTER), pb.DeltaDiscoveryRequest(type_url=CLUSTER)
    sotw.resource_locators.add(name="a")
    delta.resource_locators_subscribe.add(name="a")
    message = sotw if variant == "sotw" else delta
    with pytest.raises(NotSupported, match="locators"):
        read(variant, message.SerializeToString())


def _too_much() -> list[pb.DeltaDiscoveryRequest]:
    many, versions, name = (pb.DeltaDiscoveryRequest(type_url=ENDPOINT) for _ in range(3))
    many.resource_names_subscribe.extend(map(str, range(MAX_NAMES + 1)))
    for i in range(MAX_NAMES + 1):
        versions.initial_resource_versions[str(i)] = ""
    name.resource_names_subscribe.append("x" * (MAX_TEXT + 1))
    node = pb.DeltaDiscoveryRequest(type_url=ENDPOINT)
    node.node.id = "x" * (MAX_TEXT + 1)
    return [many, versions, name, node, pb.DeltaDiscoveryRequest(type_url="x" * (MAX_TEXT + 1))]


@pytest.mark.parametrize("case", range(5))
def test_what_is_kept_for_a_client_is_bounded(case: int) -> None:
    """No section: the document sets no limits, so we do. The stream ends with RESOURCE_EXHAUSTED."""
    with pytest.raises(TooMuch):
        read("delta", _too_much()[case].SerializeToString())
