"""The promise of the switch, tried with any order of events that Hypothesis can think of.

Sections "Eventual consistency considerations" and "ACK/NACK and resource type instance version" of
the xDS protocol document.
"""

from __future__ import annotations

from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from control_plane.compile.model import CLUSTER, ENDPOINT, PLAN, ROUTE, SECRET
from control_plane.xds.core import Core
from control_plane.xds.serving import Serving
from tests.unit.control_plane.xds._clients import (
    Client,
    EnvoyClient,
    WorkerClient,
    proxies,
)

LINGER, PATIENCE = 30.0, 10.0
WIRINGS = ("a", "b", "c", "d")
ADDITIVE = (CLUSTER, ENDPOINT, SECRET, PLAN)


class WatchedCore(Core):
    """Looks at every client in the moment in which the routes move."""

    clients: list[Client]

    def _serve(self, old: Serving, new: Serving) -> None:
        if new.stamp.generation != old.stamp.generation:
            for client in self.clients:
                if client.number not in self._switch._silent:
                    assert_has_all(client, new)
        super()._serve(old, new)


class MakeBeforeBreak(RuleBasedStateMachine):
    """A hub, up to four clients that are slow at will, and users who change everything."""

    def __init__(self) -> None:
        super().__init__()
        self.core = WatchedCore(linger=LINGER, patience=PATIENCE)
        self.clients: list[Client] = []
        self.core.clients = self.clients
        self.now, self.revision, self.good = 0.0, 0, True
        self.synced: set[Client] = set()
        self.returned: set[Client] = set()
        self.waited = False

    @initialize()
    def first(self) -> None:
        self.change(["a"], "0", False)

    @rule(
        wirings=st.lists(st.sampled_from(WIRINGS), unique=True),
        edit=st.sampled_from("012"),
        bad=st.sampled_from([False, False, True]),
    )
    def change(self, wirings: list[str], edit: str, bad: bool) -> None:
        self.revision += 1
        broken = [f"{wirings[0]}!"] if bad and wirings else []
        self.good = not broken
        target = proxies(self.revision, *wirings, *broken, edit=edit, bad=broken)
        self.core.set_target(target, self.now)

    @precondition(lambda self: len(self.clients) < 4)
    @rule(kind=st.sampled_from(["sotw", "delta", "worker"]))
    def join(self, kind: Any) -> None:
        name = f"node-{len(self.clients)}"
        if kind == "worker":
            self.clients.append(WorkerClient(self.core, name, "delta"))
        else:
            self.clients.append(EnvoyClient(self.core, name, kind))

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.clients.remove(client)
        client.leave()

    @precondition(lambda self: any(c.variant == "delta" for c in self.clients))
    @rule(data=st.data(), away=st.sampled_from([0.0, 2 * LINGER]))
    def reconnect(self, data: st.DataObject, away: float) -> None:
        client = data.draw(st.sampled_from([c for c in self.clients if c.variant == "delta"]))
        self.clients.remove(client)
        client.leave()
        self.synced.discard(client)
        if away:
            self.pass_time(away)
        client.now = self.now
        client.join()
        self.clients.append(client)
        self.returned.add(client)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.clients)).deliver()

    @precondition(lambda self: any(c.inbox for c in self.clients))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from([c for c in self.clients if c.inbox]))
        removed_before = needs_of(self.clients, self.returned)
        response = client.answer()
        if isinstance(client, WorkerClient) and response.type_url == PLAN:
            assert not set(response.removed) & removed_before
        if response.type_url == ROUTE:
            self.returned.discard(client)

    @rule(seconds=st.sampled_from([0.1, 1.0, PATIENCE, LINGER]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for client in self.clients:
            client.now = self.now
        self.core.tick(self.now)

    @precondition(lambda self: self.clients)
    @rule()
    def drain(self) -> None:
        """Everybody answers everything: nobody may be left behind."""
        for _ in range(50):
            if not sum(self._drain(client) for client in self.clients):
                break
        else:
            raise AssertionError("the server never stops talking")
        serving = self.core.serving
        if not self.good and self.core._switch.last_good is None:
            return  # there is nothing good to go back to
        for client in self.clients:
            assert_has_all(client, serving)
            for type_url in (
                {PLAN, SECRET} if isinstance(client, WorkerClient) else {CLUSTER, ROUTE}
            ):
                served = serving.tables[type_url].resources
                mine = client.cache.get(type_url, {})
                if not (type_url == ROUTE and client.variant == "sotw"):
                    stream = self.core._streams[client.number]
                    kept = stream.subscriptions[type_url].inherited
                    assert {n: r.version for n, r in mine.items() if n not in kept} == {
                        n: r.version for n, r in served.items()
                    }
        envoys = [c for c in self.clients if isinstance(c, EnvoyClient)]
        if self.good:
            assert self.core.ledger.status(self.revision).state == "applied"
        elif envoys:
            assert self.core.ledger.status(self.revision).state == "rejected"

    def _drain(self, client: Client) -> int:
        count = client.deliver()
        while client.inbox:
            response = client.answer()
            if response.type_url == ROUTE:
                self.returned.discard(client)
            count += 1
        return count

    @invariant()
    def nothing_in_use_is_missing(self) -> None:
        """Every Envoy has all that its own routes name, and the server serves it on to others."""
        for client in self.clients:
            if isinstance(client, EnvoyClient):
                assert client.needs() <= client.names(CLUSTER), "a cluster in use is gone"
                if client not in self.returned:
                    plans = self.core.serving.tables[PLAN].resources
                    assert client.needs() <= plans.keys(), "a plan in use is gone"

    @invariant()
    def at_most_one_response_per_type_is_out(self) -> None:
        for client in self.clients:
            types = [response.type_url for response in client.inbox]
            assert len(types) == len(set(types))

    def teardown(self) -> None:
        """In the end everything that nobody names is gone."""
        if not self.clients:
            return
        self.drain()
        self.pass_time(LINGER + 1)
        self.drain()
        if self.good:
            names = self.core._switch.target.resources[ROUTE]["routes"].body.decode().split()
            served = self.core.serving.tables[PLAN].resources
            assert served.keys() == set(names) - {"none"}


def assert_has_all(client: Client, serving: Serving) -> None:
    """The client has accepted all that is served of the additive types that it asks for."""
    for type_url in ADDITIVE:
        wanted = client.asked.get(type_url)
        if wanted is None or type_url not in serving.tables:
            continue
        for name, resource in serving.tables[type_url].resources.items():
            if resource.body.startswith(b"bad"):
                continue
            if type_url == CLUSTER or "*" in wanted or name in wanted:
                held = client.cache.get(type_url, {}).get(name)
                assert held is not None, f"{client.node.id} lacks {name}"
                assert held.version == resource.version


def needs_of(clients: list[Client], returned: set[Client]) -> set[str]:
    """What the routes of all Envoys name, but for those that have been away."""
    envoys = [c for c in clients if isinstance(c, EnvoyClient) and c not in returned]
    return {name for envoy in envoys for name in envoy.needs()}


TestMakeBeforeBreak = MakeBeforeBreak.TestCase
TestMakeBeforeBreak.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),  # "explain" traces: slow
)
