"""State of the world, request by request. Each test names its section of the xDS document."""

from __future__ import annotations

import pytest

from control_plane.compile.model import CLUSTER, ENDPOINT, SECRET, XdsResource
from control_plane.xds.errors import TooMuch
from control_plane.xds.serving import Stamp, Table, version_of
from control_plane.xds.sotw import SotwRequest, SotwSubscription
from control_plane.xds.subscription import MAX_NAMES, Response
from tests.unit.control_plane.xds._clients import resource

AT = Stamp(1, 1)


class Talk:
    """One subscription with a table behind it; every response's nonce and version are checked."""

    def __init__(self, type_url: str = CLUSTER, **bodies: str) -> None:
        self.subscription = SotwSubscription(type_url)
        self.table: Table | None = self._table(bodies) if bodies else None
        self.nonce = 0
        self.last: Response | None = None

    def ask(
        self, *names: str, version: str = "", nonce: str = "", error: str | None = None
    ) -> list[str] | None:
        """Sends a request, and gives the names in the response that follows, if any."""
        request = SotwRequest(frozenset(names), version, nonce, error)
        self.answer = self.subscription.request(request, self.table)
        return self.hear()

    def ack(self, *names: str) -> list[str] | None:
        assert self.last is not None
        return self.ask(*names, version=self.last.version, nonce=self.last.nonce)

    def nack(self, *names: str) -> list[str] | None:
        assert self.last is not None
        return self.ask(*names, nonce=self.last.nonce, error="no")

    def serve(self, **bodies: str) -> list[str] | None:
        old, self.table = self.table, self._table(bodies)
        if old is None:
            self.subscription.appear(self.table)
        else:
            self.subscription.touch(self.table.changed_since(old), self.table)
        return self.hear()

    def hear(self) -> list[str] | None:
        response = self.subscription.next(self.table, AT, str(self.nonce + 1), removals=True)
        if response is None:
            return None
        self.nonce += 1
        assert response.nonce == str(self.nonce)
        assert not response.removed
        assert self.subscription.next(self.table, AT, "x", removals=True) is None, "one at a time"
        self.last = response
        return [each.name for each in response.resources]

    def _table(self, bodies: dict[str, str]) -> Table:
        made = {n: resource(self.subscription.type_url, n, body) for n, body in bodies.items()}
        return Table({name: res for name, res in made.items() if res.body != b"-"})


def test_an_empty_list_is_a_wildcard_for_clusters() -> None:
    """How the client specifies what resources to return: the legacy wildcard."""
    assert Talk(a="1", b="1").ask() == ["a", "b"]


def test_a_wildcard_is_answered_even_if_there_is_nothing() -> None:
    """How the client specifies what resources to return."""
    assert Talk(a="-").ask() == []


def test_a_type_that_is_not_served_is_answered_with_nothing_until_it_is() -> None:
    """Knowing When a Requested Resource Does Not Exist."""
    talk = Talk()
    assert talk.ask() is None
    assert talk.serve(a="1") == ["a"]


def test_an_empty_list_is_no_wildcard_for_other_types() -> None:
    """How the client specifies what resources to return: the wildcard is for LDS and CDS."""
    talk = Talk(ENDPOINT, a="1")
    assert talk.ask() is None
    assert talk.serve(a="2") is None


def test_a_star_is_a_wildcard_for_any_type() -> None:
    """How the client specifies what resources to return: the special name `*`."""
    assert Talk(ENDPOINT, a="1", b="1").ask("*") == ["a", "b"]


def test_the_documents_example_of_wildcards() -> None:
    """How the client specifies what resources to return: the example, step by step."""
    talk = Talk(A="1", B="1")
    assert talk.ask() == ["A", "B"]
    assert talk.ack("*", "A") == ["A", "B"]  # A is newly named, so it is sent again
    assert talk.ack("A") is None  # no wildcard any more
    assert talk.serve(A="1", B="2") is None
    assert talk.ack() is None  # and now nothing at all, though the list is empty
    assert talk.serve(A="2", B="2") is None


def test_clusters_are_always_sent_in_full() -> None:
    """Grouping Resources into Responses."""
    talk = Talk(a="1", b="1")
    talk.ask()
    assert talk.ack() is None
    assert talk.serve(a="2", b="1") == ["a", "b"]


def test_of_other_types_only_what_changed_is_sent() -> None:
    """Grouping Resources into Responses."""
    talk = Talk(ENDPOINT, a="1", b="1")
    assert talk.ask("a", "b") == ["a", "b"]
    assert talk.ack("a", "b") is None
    assert talk.serve(a="2", b="1") == ["a"]


def test_a_missing_cluster_is_a_deleted_one() -> None:
    """Deleting Resources."""
    talk = Talk(a="1", b="1")
    talk.ask()
    talk.ack()
    assert talk.serve(a="1") == ["a"]
    assert talk.ack() is None
    assert talk.serve(a="-") == []


def test_of_other_types_nothing_can_be_deleted() -> None:
    """Deleting Resources; and one that comes back is sent again."""
    talk = Talk(ENDPOINT, a="1", b="1")
    talk.ask("a", "b")
    talk.ack("a", "b")
    assert talk.serve(a="1") is None
    assert not talk.subscription.owes(talk.table)
    assert talk.serve(a="1", b="1") == ["b"]


@pytest.mark.parametrize("type_url", [CLUSTER, ENDPOINT])
def test_a_name_may_be_asked_for_before_it_exists(type_url: str) -> None:
    """Knowing When a Requested Resource Does Not Exist."""
    talk = Talk(type_url, a="1")
    assert talk.ask("later") is None
    assert talk.serve(a="1", later="1") == ["later"]


def test_what_is_newly_asked_for_is_sent_even_if_it_was_before() -> None:
    """How the client specifies what resources to return."""
    talk = Talk(ENDPOINT, a="1", b="1")
    talk.ask("a", "b")
    talk.ack("a", "b")
    assert talk.ack("a") is None
    assert talk.ack("a", "b") == ["b"]


def test_what_is_newly_asked_for_and_goes_before_it_is_sent() -> None:
    """Deleting Resources: the client has it from the wildcard, and must be told."""
    talk = Talk(a="1", b="1")
    talk.ask()
    assert talk.serve(a="2", b="1") is None
    assert talk.ask("*", "b", nonce="1") == ["a", "b"]
    assert talk.ask("*", "a", "b", nonce="1") is None
    assert talk.serve(b="1") is None
    assert talk.ack("*", "a", "b") == ["b"]


def test_what_is_unsubscribed_from_is_not_sent() -> None:
    """Unsubscribing From Resources."""
    talk = Talk(ENDPOINT, a="1", b="1")
    talk.ask("a", "b")
    talk.ack("a")
    assert talk.serve(a="1", b="2") is None


def test_a_stale_request_is_ignored() -> None:
    """Resource updates: the race of a hint and a new version."""
    talk = Talk(ENDPOINT, a="1", b="1")
    talk.ask("a")
    talk.ack("a")
    assert talk.serve(a="2", b="1") == ["a"]
    assert talk.ask("a", "b", nonce="1") is None, "it answers the first response, not the second"
    assert talk.subscription.sent is not None
    assert talk.ack("a") is None
    assert talk.ask("a", "b", nonce="1") is None, "nor is it answered later"
    assert talk.ask("a", "b", nonce="2") == ["b"]


def test_a_nonce_of_an_earlier_stream_is_not_stale() -> None:
    """Basic Protocol Overview: a nonce is valid only within one stream."""
    assert Talk(a="1").ask(nonce="of-yore") == ["a"]


def test_a_request_without_a_nonce_is_no_answer() -> None:
    """Resource updates: more than one request before the first response arrives."""
    talk = Talk(ENDPOINT, a="1", b="1")
    talk.ask("a")
    assert talk.ask("a", "b") is None
    assert talk.answer is None
    assert talk.ack("a", "b") == ["b"]


def test_changes_while_a_response_is_out_become_one_response() -> None:
    """When to send an update; state, not a queue."""
    talk = Talk(a="1")
    talk.ask()
    for body in "23456789":
        assert talk.serve(a=body) is None
    assert talk.ack() == ["a"]
    assert talk.last is not None
    assert talk.last.resources[0].body == b"9"
    assert talk.ack() is None


def test_a_refused_version_is_not_sent_again_until_it_changes() -> None:
    """NACK."""
    talk = Talk(a="1")
    talk.ask()
    assert talk.nack() is None
    assert talk.answer is not None
    assert talk.answer.error == "no"
    assert talk.subscription.error == "no"
    assert talk.serve(a="1") is None
    assert talk.serve(a="2") == ["a"]
    talk.ack()
    assert talk.subscription.error == ""


def test_why_a_secret_was_refused_is_not_kept() -> None:
    """NACK: Envoy's reason holds the message that it refuses."""
    talk = Talk(SECRET, key="1")
    talk.ask("key")
    talk.ask("key", nonce="1", error="bad message: inline_bytes: hush")
    assert talk.answer is not None
    assert talk.answer.error.startswith("refused a secret")
    assert "hush" not in talk.answer.error + talk.subscription.error


def test_a_nack_is_known_by_its_error_not_by_its_version() -> None:
    """NACK: the preferred mechanism."""
    talk = Talk(ENDPOINT, a="1")
    talk.ask("a")
    talk.ask("a", version="some other", nonce="1")
    assert talk.answer is not None
    assert talk.answer.error == ""
    talk = Talk(ENDPOINT, a="1")
    talk.ask("a")
    assert talk.last is not None
    talk.ask("a", version=talk.last.version, nonce="1", error="")
    assert talk.answer is not None
    assert talk.answer.error == "refused without a reason"


def test_the_version_is_that_of_what_the_client_sees() -> None:
    """ACK/NACK and resource type instance version: the same content has the same version."""
    talk, other = Talk(ENDPOINT, a="1", b="1"), Talk(ENDPOINT, b="1", c="1")
    talk.ask("b")
    other.ask("b")
    assert talk.last is not None
    assert other.last is not None
    assert talk.last.version == other.last.version == version_of([resource(ENDPOINT, "b", "1")])


def test_a_client_that_comes_back_with_all_is_sent_nothing() -> None:
    """ACK/NACK and resource type instance version: the wildcard's optimisation."""
    first = Talk(a="1", b="1")
    first.ask()
    assert first.last is not None
    version = first.last.version
    back = Talk(a="1", b="1")
    assert back.ask(version=version) is None
    assert not back.subscription.owes(back.table)
    assert back.serve(a="1", b="2") == ["a", "b"]
    assert Talk(a="1", b="2").ask(version=version) == ["a", "b"]


def test_a_client_that_is_back_before_the_type_is() -> None:
    """ACK/NACK and resource type instance version; the control plane has only just started."""
    first = Talk(a="1")
    first.ask()
    assert first.last is not None
    back = Talk()
    assert back.ask(version=first.last.version) is None
    assert back.serve(a="1") is None
    assert back.serve(a="2") == ["a"]


def test_a_named_subscription_is_sent_again_after_a_reconnect() -> None:
    """ACK/NACK and resource type instance version: names make the optimisation unsafe."""
    first = Talk(a="1")
    first.ask("a")
    assert first.last is not None
    assert Talk(a="1").ask("a", version=first.last.version) == ["a"]


def test_names_are_bounded() -> None:
    with pytest.raises(TooMuch, match="100000 names"):
        Talk(a="1").ask(*map(str, range(MAX_NAMES + 1)))


def test_a_resource_does_not_show_its_body() -> None:
    talk = Talk(ENDPOINT, a="hush")
    talk.ask("a")
    secret = XdsResource(ENDPOINT, "a", "v", b"hush")
    assert "hush" not in repr((talk.last, talk.subscription.sent, secret))
