"""All sections at once: any order of changes, subscriptions, answers and reconnects, in both
variants, with a model of the client beside it.

In the end the client has what is served of what it asks for. On the way no response is one that the
document forbids: none while another of its type is out, none to a stale request, nothing that the
client did not ask for, nothing removed that exists, nothing sent again that the client has and did
not ask for again, and in state of the world listeners and clusters always whole.
"""

from __future__ import annotations

from typing import Any

from envoy.service.discovery.v3 import discovery_pb2 as pb
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from control_plane.compile.model import CLUSTER, ENDPOINT, LISTENER, PLAN, XdsResource
from control_plane.xds.sotw import FULL_STATE
from control_plane.xds.stream import Variant
from tests.unit.control_plane.xds._clients import resource
from tests.unit.control_plane.xds.protocol._peer import WILDCARD, Heard, Peer

PAIRS = [(CLUSTER, ENDPOINT), (CLUSTER, LISTENER), (ENDPOINT, PLAN), (PLAN, LISTENER)]
which = st.integers(0, 1)  # of the two types of a run
tables = st.dictionaries(st.sampled_from("abc"), st.sampled_from("123"))
MOST_ROUNDS = 20
wishes = st.frozensets(st.sampled_from(["a", "b", "c", WILDCARD]), max_size=3)


class AnyOrder(RuleBasedStateMachine):
    """`cache` is what the client would use: what it accepted of what it asks for, by type."""

    peer: Peer

    @initialize(variant=st.sampled_from(["sotw", "delta"]), pair=st.sampled_from(PAIRS))
    def start(self, variant: Variant, pair: tuple[str, str]) -> None:
        self.peer, self.types = Peer(variant), pair
        self.cache: dict[str, dict[str, str]] = {t: {} for t in self.types}
        self._forget_stream()

    def _forget_stream(self) -> None:
        self.out: dict[str, Heard] = {}
        self.old_nonces: dict[str, str] = {}
        self.legacy: dict[str, bool] = {}
        self.asked_again: dict[str, set[str]] = {t: set() for t in self.types}
        self.first = set(self.types)
        self.refused: dict[str, set[str]] = {t: set() for t in self.types}
        self.kept: set[str] = set()  # types of which it has refused to lose something

    @rule(which=which, table=tables)
    def change(self, which: int, table: dict[str, str]) -> None:
        self._change(self.types[which], table)

    def _change(self, type_url: str, table: dict[str, str]) -> None:
        if (
            type_url == CLUSTER and ENDPOINT in self.types
        ):  # those warm, so endpoints of these names may come once more
            old = self._table(CLUSTER)
            self.asked_again[ENDPOINT] |= {n for n in table if old.get(n) != table[n]}
        if self.peer.variant == "sotw" and type_url not in FULL_STATE:  # nobody can be told
            self.asked_again[type_url] |= self._table(type_url).keys() - table.keys()
        self.peer.serve(type_url, **table)

    @rule(which=which, names=wishes)
    def want(self, which: int, names: frozenset[str]) -> None:
        type_url = self.types[which]
        before = self.peer.wanted.get(type_url, frozenset())
        initial = {}
        if type_url in self.first and self.peer.variant == "delta":
            kept = self.cache[type_url].items()
            initial = {name: _version(type_url, name, body) for name, body in kept}
        elif self.peer.variant == "delta" and names == before:
            return
        self.legacy[type_url] = self._is_legacy(type_url, before, names)
        self.asked_again[type_url] |= (names - before) - {WILDCARD}
        self.asked_again[type_url] |= (before - names) - {WILDCARD}
        if WILDCARD in names - before or self.legacy[type_url] or type_url in self.first:
            self.asked_again[type_url] |= set("abc")
        self.first.discard(type_url)
        for name in before - names:  # it cannot know whether a wildcard still has it
            self.cache[type_url].pop(name, None)
        self.peer.want(type_url, *names, initial=initial)
        self._shrink(type_url)

    def _is_legacy(self, type_url: str, before: frozenset[str], names: frozenset[str]) -> bool:
        """A wildcard by an empty first request: in delta it goes on beside names."""
        begun = not names and type_url in self.first
        if self.peer.variant == "delta":
            goes_on = self.legacy.get(type_url, False) and WILDCARD not in before - names
            return begun or goes_on
        goes_on = not names and self.legacy.get(type_url, False)
        return type_url in FULL_STATE and (begun or goes_on)

    @precondition(lambda self: self.peer.variant == "delta")
    @rule(which=which, name=st.sampled_from("abc"))
    def ask_again(self, which: int, name: str) -> None:
        type_url = self.types[which]
        if type_url in self.first or name not in self.peer.wanted[type_url]:
            return
        self.asked_again[type_url].add(name)
        self.cache[type_url].pop(name, None)  # it has forgotten it
        self.peer.send(type_url, pb.DeltaDiscoveryRequest(resource_names_subscribe=[name]))

    @rule()
    def hear(self) -> None:
        for heard in self.peer.hear():
            self._judge(heard)
            self.out[heard.type_url] = heard

    @rule(data=st.data(), refuse=st.booleans())
    def answer(self, data: Any, refuse: bool) -> None:
        if not self.out:
            return
        type_url = data.draw(st.sampled_from(sorted(self.out)))
        self._answer(type_url, refuse=refuse)

    @rule(which=which, error=st.sampled_from([None, "late"]))
    def answer_once_more(self, which: int, error: str | None) -> None:
        """A stale nonce, with an error or without; in state of the world with other names, too."""
        type_url = self.types[which]
        nonce, now = self.old_nonces.get(type_url), self.peer.nonces.get(type_url)
        if nonce is None or (now == nonce and type_url not in self.out):
            return
        message: pb.DiscoveryRequest | pb.DeltaDiscoveryRequest = pb.DeltaDiscoveryRequest()
        if self.peer.variant == "sotw":
            message = pb.DiscoveryRequest(resource_names=["a", "zzz"])
        self.hear()
        assert self.peer.send(type_url, message, nonce, error) is None
        assert self.peer.hear() == []

    @rule(keeps=st.booleans())
    def reconnect(self, keeps: bool) -> None:
        """The client may have restarted, and lost what it had."""
        if not keeps or self.peer.variant == "sotw":
            self.cache = {t: {} for t in self.types}
            self.kept.clear()
        self.peer.join()
        self._forget_stream()

    @invariant()
    def one_response_is_out(self) -> None:
        if not hasattr(self, "out"):
            return
        for type_url, subscription in self.peer.stream.subscriptions.items():
            assert (subscription.sent is not None) == (type_url in self.out)

    def teardown(self) -> None:
        if not hasattr(self, "out"):
            return
        for type_url in tuple(self.out):
            self._answer(type_url, refuse=False)
        for type_url, refused in self.refused.items():  # its own loss until it changes
            table = self._table(type_url)
            mended = {name: f"{table[name]}!" for name in table.keys() & refused}
            if mended:
                self._change(type_url, {**table, **mended})
        for _ in range(MOST_ROUNDS):
            self.hear()
            for type_url in tuple(self.out):
                self._answer(type_url, refuse=False)
        assert self.peer.hear() == [], "it never ends"
        for type_url in self.types:
            self._compare(type_url)

    def _compare(self, type_url: str) -> None:
        table = self._table(type_url)
        expected = {n: body for n, body in table.items() if self._wants(type_url, n)}
        have = self.cache[type_url]
        if self.peer.variant == "sotw" and type_url not in FULL_STATE:
            have = {name: body for name, body in have.items() if name in table}
        if type_url in self.kept:  # what is refused is not said again, and this has no other name
            have = {name: body for name, body in have.items() if name in expected}
        if type_url not in self.first:
            assert have == expected, type_url

    def _answer(self, type_url: str, *, refuse: bool) -> None:
        heard = self.out.pop(type_url)
        if refuse:
            self.asked_again[type_url] |= set(heard.bodies)
            self.refused[type_url] |= heard.bodies.keys() | set(heard.removed)
            if self.peer.variant == "sotw" and type_url in FULL_STATE:
                self.kept.add(type_url)
        else:
            self.kept.discard(type_url)
            cache = self.cache[type_url]
            if self.peer.variant == "sotw" and type_url in FULL_STATE:
                cache.clear()
            cache.update(heard.bodies)
            self.refused[type_url] -= heard.bodies.keys()
            for name in heard.removed:
                cache.pop(name, None)
            self._shrink(type_url)
        self.old_nonces.setdefault(type_url, heard.nonce)
        answer = self.peer.reply(heard, "no" if refuse else None)
        assert answer is not None
        assert answer.error == ("no" if refuse else "")

    def _judge(self, heard: Heard) -> None:
        type_url, table = heard.type_url, self._table(heard.type_url)
        assert type_url not in self.out
        assert type_url not in self.first
        assert not set(heard.removed) & table.keys()
        assert all(table[name] == body for name, body in heard.bodies.items()), "only the newest"
        assert all(self._wants(type_url, name) for name in heard.bodies)
        if self.peer.variant == "sotw" and type_url in FULL_STATE:
            assert set(heard.bodies) == {n for n in table if self._wants(type_url, n)}
        else:
            has, again = self.cache[type_url], self.asked_again[type_url]
            assert all(has.get(n) != body or n in again for n, body in heard.bodies.items())
            again -= set(heard.bodies)

    def _table(self, type_url: str) -> dict[str, str]:
        table = self.peer.serving.tables.get(type_url)
        resources: tuple[XdsResource, ...] = tuple(table.resources.values()) if table else ()
        return {each.name: each.body.decode().partition(" ")[2] for each in resources}

    def _wants(self, type_url: str, name: str) -> bool:
        wanted = self.peer.wanted.get(type_url, frozenset())
        return self.legacy.get(type_url, False) or WILDCARD in wanted or name in wanted

    def _shrink(self, type_url: str) -> None:
        """The client does not keep what it does not ask for."""
        cache = self.cache[type_url]
        for name in [name for name in cache if not self._wants(type_url, name)]:
            del cache[name]


def _version(type_url: str, name: str, body: str) -> str:
    return resource(type_url, name, f"{name} {body}").version


TestAnyOrder = AnyOrder.TestCase
