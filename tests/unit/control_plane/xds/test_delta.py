"""Incremental xDS, request by request. Each test names its section of the xDS document."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.compile.model import ENDPOINT, digest
from control_plane.xds.delta import DeltaRequest, DeltaSubscription
from control_plane.xds.errors import TooMuch
from control_plane.xds.serving import Stamp, Table
from control_plane.xds.subscription import MAX_NAMES, Response
from tests.unit.control_plane.xds._clients import resource

AT = Stamp(1, 1)
Heard = tuple[list[str], list[str]]
"""Names sent, names removed."""


class Talk:
    """One subscription with a table behind it."""

    def __init__(self, max_batch: int = 1000, **bodies: str) -> None:
        self.subscription = DeltaSubscription(ENDPOINT, max_batch)
        self.table: Table | None = _table(bodies) if bodies else None
        self.nonce = 0
        self.last: Response | None = None

    def ask(
        self, *subscribe: str, drop: tuple[str, ...] = (), has: dict[str, str] | None = None
    ) -> Heard | None:
        return self._send(DeltaRequest(frozenset(subscribe), frozenset(drop), has or {}))

    def ack(self, *subscribe: str, nonce: str | None = None) -> Heard | None:
        return self._send(DeltaRequest(frozenset(subscribe), nonce=nonce or str(self.nonce)))

    def nack(self) -> Heard | None:
        return self._send(DeltaRequest(nonce=str(self.nonce), error="no"))

    def serve(self, **bodies: str) -> Heard | None:
        old, self.table = self.table, _table(bodies)
        if old is None:
            self.subscription.appear(self.table)
        else:
            self.subscription.touch(self.table.changed_since(old), self.table)
        return self.hear()

    def hear(self, *, removals: bool = True) -> Heard | None:
        nonce = str(self.nonce + 1)
        response = self.subscription.next(self.table, AT, nonce, removals=removals)
        if response is None:
            return None
        self.nonce += 1
        assert response.nonce == nonce
        assert self.subscription.next(self.table, AT, "x", removals=True) is None, "one at a time"
        self.last = response
        return [each.name for each in response.resources], list(response.removed)

    def _send(self, request: DeltaRequest) -> Heard | None:
        self.answer = self.subscription.request(request, self.table)
        return self.hear()


def _table(bodies: dict[str, str]) -> Table:
    made = {name: resource(ENDPOINT, name, body) for name, body in bodies.items()}
    return Table({name: res for name, res in made.items() if res.body != b"-"})


@pytest.mark.parametrize("names", [(), ("*",)])
def test_wildcards(names: tuple[str, ...]) -> None:
    """How the client specifies what resources to return: `*`, and the legacy empty list."""
    assert Talk(a="1", b="1").ask(*names) == (["a", "b"], [])


def test_a_wildcard_is_answered_even_if_there_is_nothing() -> None:
    """How the client specifies what resources to return."""
    assert Talk(a="-").ask("*") == ([], [])


def test_a_type_that_is_not_served_is_answered_with_nothing_until_it_is() -> None:
    """Knowing When a Requested Resource Does Not Exist."""
    talk = Talk()
    assert talk.ask("a", "b") is None
    assert talk.serve(a="1") == (["a"], ["b"])


def test_the_documents_example_of_wildcards() -> None:
    """How the client specifies what resources to return: the example, step by step."""
    talk = Talk(A="1", B="1")
    assert talk.ask() == (["A", "B"], [])
    assert talk.ack("A") == (["A"], [])
    talk.ack()
    assert talk.ask(drop=("*",)) is None
    assert talk.serve(A="2", B="2") == (["A"], [])
    talk.ack()
    assert talk.ask(drop=("A",)) is None
    assert talk.serve(A="3", B="3") is None
    assert talk.ask() is None, "an empty list is no wildcard any more"


def test_only_what_changed_is_sent() -> None:
    """Grouping Resources into Responses."""
    talk = Talk(a="1", b="1")
    talk.ask("*")
    assert talk.ack() is None
    assert talk.serve(a="2", b="1") == (["a"], [])


def test_removed_resources() -> None:
    """Deleting Resources."""
    talk = Talk(a="1", b="1")
    talk.ask("*")
    talk.ack()
    assert talk.serve(a="1") == ([], ["b"])
    assert talk.ack() is None


def test_removals_wait_until_they_are_allowed() -> None:
    """Eventual consistency considerations: stale clusters go last."""
    talk = Talk(a="1", b="1")
    talk.ask("*")
    talk.ack()
    assert talk.table is not None
    old, talk.table = talk.table, _table({"a": "2"})
    talk.subscription.touch(talk.table.changed_since(old), talk.table)
    assert talk.hear(removals=False) == (["a"], [])
    assert talk.subscription.request(DeltaRequest(nonce=str(talk.nonce)), talk.table)
    assert talk.hear(removals=False) is None
    assert not talk.subscription.owes(talk.table)
    assert talk.hear(removals=True) == ([], ["b"])


def test_a_name_that_does_not_exist_is_said_to_be_removed() -> None:
    """Knowing When a Requested Resource Does Not Exist (incremental); it may come later."""
    talk = Talk(a="1")
    assert talk.ask("later") == ([], ["later"])
    assert talk.ack() is None
    assert talk.serve(a="1", later="1") == (["later"], [])


def test_what_is_asked_for_again_is_sent_again() -> None:
    """Subscribing to Resources: the client may have forgotten."""
    talk = Talk(a="1", b="1")
    talk.ask("a")
    assert talk.ack() is None
    assert talk.ask("a") == (["a"], [])
    talk.ack()
    assert talk.ask("*") == (["a", "b"], [])


def test_a_change_of_the_subscription_is_honoured_with_a_stale_nonce() -> None:
    """Incremental xDS: the nonce should not be used to reject stale requests."""
    talk = Talk(a="1", b="1")
    talk.ask("a")
    talk.ack()
    talk.serve(a="2", b="1")
    assert talk.ack("b", nonce="1") is None, "the second response is still out"
    assert talk.answer is None
    assert talk.ack() == (["b"], [])


def test_phantom_unsubscriptions_are_ignored() -> None:
    """Unsubscribing from Resources."""
    talk = Talk(a="1")
    talk.ask("a")
    talk.ack()
    assert talk.ask(drop=("b", "*")) is None
    assert talk.serve(a="2") == (["a"], [])


def test_unsubscribing_needs_no_response() -> None:
    """Unsubscribing from Resources."""
    talk = Talk(a="1", b="1")
    talk.ask("a", "b")
    talk.ack()
    assert talk.ask(drop=("b",)) is None
    assert talk.serve(a="1", b="2") is None


def test_unsubscribing_from_a_name_under_a_wildcard_is_answered() -> None:
    """Unsubscribing from Resources: the one exception."""
    talk = Talk(a="1", b="1")
    talk.ask("*", "a", "lost")
    talk.ack()
    assert talk.ask(drop=("a",)) == (["a"], [])
    talk.ack()
    assert talk.ask(drop=("lost",)) == ([], ["lost"])


def test_subscribed_and_unsubscribed_in_one_request() -> None:
    """Incremental xDS: how a client says that it wants nothing, not everything."""
    assert Talk(a="1").ask("*", drop=("*",)) is None


def test_what_the_client_kept_is_not_sent_again() -> None:
    """Incremental xDS: `initial_resource_versions` on reconnect."""
    kept = {"a": digest(b"1"), "b": digest(b"old"), "gone": digest(b"1")}
    assert Talk(a="1", b="1", c="1").ask("*", has=kept) == (["b", "c"], ["gone"])
    assert Talk(a="1", b="1").ask("a", "gone", has=kept) == ([], ["gone"])
    assert Talk(a="1").ask("*", has={"a": digest(b"1")}) is None


def test_a_client_that_is_back_before_the_type_is() -> None:
    """Incremental xDS: reconnect; the control plane has only just started."""
    talk = Talk()
    assert talk.ask("*", has={"a": digest(b"1"), "gone": digest(b"1")}) is None
    assert talk.serve(a="1", b="1") == (["b"], ["gone"])


def test_a_refused_version_is_not_sent_again_until_it_changes() -> None:
    """Incremental xDS: NACK by `error_detail`."""
    talk = Talk(a="1")
    talk.ask("*")
    assert talk.nack() is None
    assert talk.subscription.error == "no"
    assert talk.answer is not None
    assert talk.answer.still_served
    assert talk.serve(a="1", b="1") == (["b"], [])
    talk.ack()
    assert talk.serve(a="2", b="1") == (["a"], [])


def test_a_refused_version_that_goes_and_comes_back_is_sent_again() -> None:
    """Incremental xDS: NACK. Even if there was no time to say that it had gone."""
    talk = Talk(a="1", b="1")
    talk.ask("*")
    talk.nack()
    assert talk.table is not None
    for bodies in ({"b": "1"}, {"a": "1", "b": "1"}):
        old, talk.table = talk.table, _table(bodies)
        talk.subscription.touch(talk.table.changed_since(old), talk.table)
    assert talk.hear() == (["a"], [])


def test_a_nack_of_what_has_changed_meanwhile() -> None:
    """Incremental xDS: NACK."""
    talk = Talk(a="1")
    talk.ask("*")
    talk.serve(a="2")
    assert talk.nack() == (["a"], [])
    assert talk.answer is not None
    assert not talk.answer.still_served


def test_what_changes_and_changes_back_is_not_sent() -> None:
    """When to send an update."""
    talk = Talk(a="1", b="1")
    talk.ask("*")
    talk.serve(a="2", b="1")
    talk.serve(a="1")
    talk.serve(a="1", b="1")
    assert talk.ack() is None


def test_a_big_answer_goes_out_in_parts() -> None:
    """Grouping Resources into Responses; at least one resource in each."""
    talk = Talk(max_batch=10, a="x" * 6, b="y" * 4, c="z" * 50)
    assert talk.ask("*") == (["a", "b"], [])
    assert talk.subscription.owes(talk.table)
    assert talk.ack() == (["c"], [])
    assert talk.ack() is None
    assert not talk.subscription.owes(talk.table)


def test_names_are_bounded() -> None:
    with pytest.raises(TooMuch):
        Talk(a="1").ask(*map(str, range(MAX_NAMES + 1)))


names = st.sampled_from(["a", "b", "c", "*"])
tables = st.dictionaries(st.sampled_from("abc"), st.sampled_from("123"))
steps = st.one_of(
    st.tuples(st.just("serve"), tables),
    st.tuples(st.just("ask"), st.frozensets(names, min_size=1)),
    st.tuples(st.just("drop"), st.frozensets(names, min_size=1)),
    st.tuples(st.just("ack"), st.booleans()),
)


@given(st.frozensets(names), tables, st.lists(steps, max_size=30))
def test_a_client_ends_up_with_exactly_what_it_asks_for(
    first: frozenset[str], served: dict[str, str], script: list[tuple[str, object]]
) -> None:
    """All of "Incremental xDS": whatever happens, once all is answered cache and server agree."""
    talk = Talk(max_batch=1)
    talk.table = _table(served)
    cache: dict[str, str] = {}
    wanted, wildcard = set(first - {"*"}), not first or "*" in first

    def apply() -> None:
        assert talk.last is not None
        cache.update((r.name, r.version) for r in talk.last.resources)
        for name in talk.last.removed:
            cache.pop(name, None)

    if talk.ask(*first):
        apply()
    for action, value in script:
        heard = None
        if action == "serve":
            assert isinstance(value, dict)
            heard = talk.serve(**value)
        elif action == "ask":
            assert isinstance(value, frozenset)
            wanted |= value - {"*"}
            wildcard |= "*" in value
            heard = talk.ask(*value)
        elif action == "drop":
            assert isinstance(value, frozenset)
            wanted -= value
            wildcard &= "*" not in value
            if not wildcard:
                cache = {name: version for name, version in cache.items() if name in wanted}
            heard = talk.ask(drop=tuple(value))
        elif talk.subscription.sent is not None:
            heard = talk.ack() if value else talk.nack()
        if heard is not None:
            apply()
    while talk.subscription.sent is not None:
        if talk.ack() is not None:
            apply()
    assert talk.table is not None
    expected = {
        name: res.version
        for name, res in talk.table.resources.items()
        if wildcard or name in wanted
    }
    assert {
        name: version for name, version in cache.items() if wildcard or name in wanted
    } == expected
