"""The promise of the switch with two replicas: whatever routes any Envoy uses, every worker has the
plans, although neither replica sees the other's nodes but by reports that come late.

Nobody is given up here: patience has no end. What happens when it has is in `test_elsewhere.py`.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control_plane.compile.model import CLUSTER, PLAN, ROUTE, TYPES, Compiled
from control_plane.xds.core import Core
from control_plane.xds.report import Report, decode, encode
from tests.unit.control_plane.xds._clients import Client, EnvoyClient, WorkerClient, proxies

LINGER, PATIENCE = 30.0, 1e9
WIRINGS = ("a", "b", "c", "d")


class Etcd:
    """The nodes' keys, and their history."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.log: list[tuple[str, bytes | None]] = []

    def put(self, node: str, value: bytes | None) -> None:
        if value is None:
            self.values.pop(node, None)
        else:
            self.values[node] = value
        self.log.append((node, value))


class Replica:
    """A core, and what `control_plane/_nodes.py` does around it, in small steps."""

    def __init__(self, name: str, etcd: Etcd) -> None:
        self.core = Core(linger=LINGER, patience=PATIENCE, replica=name)
        self.core.expect_reports()
        self.name, self.etcd, self.heard, self.known = name, etcd, -1, 0
        self.elsewhere: dict[str, Report] = {}
        self.written: dict[str, Report] = {}
        self.yielded: dict[str, int] = {}
        self.dirty: set[str] = set()

    def publish(self) -> int:
        """Writes what is new; a node that has left is reported as gone."""
        count = 0
        names, self.dirty = self.core.take_news() | self.dirty, set()
        for node in sorted(names):
            report = self.core.report(node)
            if report is None and node in self.written:
                report = replace(self.written[node], connected=False)
            newest = max(self.core.ledger.streams(node), default=0)
            if report is None or self.yielded.get(node, -1) >= newest:
                continue
            self.yielded.pop(node, None)
            if self.written.get(node) != report:
                self.etcd.put(node, encode(report))
                self.written[node] = report
                count += 1
        return count

    def hear(self, most: int, now: float) -> int:
        """Takes the next changes of etcd; the first time, all that is there."""
        log = self.etcd.log
        if first := self.heard < 0:
            self.heard = len(log)
        news = list(self.etcd.values.items()) if first else log[self.heard : self.heard + most]
        self.heard += 0 if first else len(news)
        for node, value in news:
            self._hear(node, decode(value) if value is not None else None, now, first)
        complete = self.heard == len(self.etcd.log)
        self.core.hear({}, now, complete=complete)
        return len(news) + first

    def _hear(self, node: str, report: Report | None, now: float, first: bool) -> None:
        here = self.core.ledger.streams(node)
        if report is not None and report.replica == self.name:
            gone = None if report.connected or here else report
            self.core.hear({node: gone}, now, complete=False)
            if self.yielded.pop(node, None) is not None:
                self.dirty.add(node)
            return
        if report is not None:
            self.written.pop(node, None)
            if here and first:
                self.dirty.add(node)
            else:
                self.yielded[node] = max(here, default=0)
        self.core.hear({node: report}, now, complete=False)


class TwoReplicas(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.etcd = Etcd()
        self.replicas = [Replica(name, self.etcd) for name in ("one", "two")]
        self.clients: list[Client] = []
        self.at: dict[Client, Replica] = {}
        self.away: list[tuple[Client, int]] = []
        self.restarts = self.joined = 0
        self.now, self.revision, self.good = 0.0, 0, True
        self.newest = proxies(0)
        self.ready: set[Client] = set()
        self.returned: set[Client] = set()

    @initialize()
    def first(self) -> None:
        self.change(["a"], "0", False)
        for replica in self.replicas:
            self.compile(replica)
            replica.hear(0, self.now)

    @rule(
        wirings=st.lists(st.sampled_from(WIRINGS), unique=True),
        edit=st.sampled_from("01"),
        bad=st.just(False),
    )
    def change(self, wirings: list[str], edit: str, bad: bool) -> None:
        self.revision += 1
        broken = [f"{wirings[0]}!"] if bad and wirings else []
        self.good = not broken
        found = proxies(self.revision, *wirings, *broken, edit=edit, bad=broken)
        every = {type_url: found.resources.get(type_url, {}) for type_url in TYPES}
        self.newest = Compiled(self.revision, every)

    @rule(index=st.sampled_from([0, 1]))
    def take(self, index: int) -> None:
        self.compile(self.replicas[index])

    def compile(self, replica: Replica) -> None:
        if replica.known != self.revision:
            replica.known = self.revision
            replica.core.set_target(self.newest, self.now)

    @precondition(lambda self: len(self.clients) + len(self.away) < 4)
    @rule(kind=st.sampled_from(["envoy", "worker"]), index=st.sampled_from([0, 1]))
    def join(self, kind: str, index: int) -> None:
        if self.restarts:
            self.drain()  # a new replica cannot know old routes that an Envoy still uses
        self.joined += 1
        replica, name = self.replicas[index], f"node-{self.joined}"
        self.compile(replica)  # a replica that lags behind etcd cannot give what it has not
        make = WorkerClient if kind == "worker" else EnvoyClient
        client: Client = make(replica.core, name, "delta")
        client.now = self.now
        self.clients.append(client)
        self.at[client] = replica
        replica.publish()  # nobody can wait for one that he has not heard of
        for each in self.replicas:
            each.hear(100, self.now)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def hop(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        old, new = self.at[client], next(r for r in self.replicas if r is not self.at[client])
        self.compile(new)
        client.leave()
        client.core, client.now = new.core, self.now
        self.at[client] = new
        client.join()
        old.publish()
        new.publish()
        self.returned.add(client)

    @rule(index=st.sampled_from([0, 1]))
    def restart(self, index: int) -> None:
        """A replica dies, and another takes its place; its clients come back one by one."""
        self.restarts += 1
        old, new = self.replicas[index], Replica(f"new-{self.restarts}", self.etcd)
        self.replicas[index] = new
        lost = [client for client in self.clients if self.at[client] is old]
        self.clients = [client for client in self.clients if client not in lost]
        for client in lost:
            if isinstance(client, WorkerClient) and client not in self.ready:
                self.etcd.put(client.node.id, None)  # it has never served anything: it dies, too
            else:
                self.away.append((client, index))

    @precondition(lambda self: self.away)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        self._come_back(data.draw(st.sampled_from(self.away)))

    def _come_back(self, away: tuple[Client, int]) -> None:
        self.away.remove(away)
        client, replica = away[0], self.replicas[away[1]]
        self.compile(replica)
        client.core, client.now = replica.core, self.now
        self.clients.append(client)
        self.at[client] = replica
        client.join()

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.clients)).deliver()

    @precondition(lambda self: any(c.inbox for c in self.clients))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self._answer(data.draw(st.sampled_from([c for c in self.clients if c.inbox])))

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def follow(self, data: st.DataObject) -> None:
        """One client goes as far as its replica lets it."""
        client = data.draw(st.sampled_from(self.clients))
        self.compile(self.at[client])
        while client.deliver():
            while client.inbox:
                self._answer(client)
                self.every_worker_has_the_plans_in_use()

    @rule(index=st.sampled_from([0, 1]))
    def publish(self, index: int) -> None:
        self.replicas[index].publish()

    @rule(index=st.sampled_from([0, 1]), most=st.sampled_from([1, 100]))
    def hear(self, index: int, most: int) -> None:
        self.replicas[index].hear(most, self.now)

    @rule()
    def drain(self) -> None:
        """Everybody answers, and everything is heard: both replicas come to the same."""
        for replica in self.replicas:
            self.compile(replica)
        while self.away:
            self._come_back(self.away[0])
        for _ in range(200):
            if not self._exchange():
                break
        else:
            raise AssertionError("it never comes to rest")
        envoys = [c for c in self.clients if isinstance(c, EnvoyClient)]
        if self.good and self.clients:
            for replica in self.replicas:
                assert replica.core.serving.revision == self.revision
                status = replica.core.ledger.status(self.revision)
                assert status.state == "applied", status
                assert set(status.nodes) == {client.node.id for client in self.clients}
        if not self.good and envoys:
            for replica in self.replicas:
                assert replica.core.ledger.status(self.revision).state == "rejected"

    @precondition(lambda self: self.clients)
    @rule()
    def long_after(self) -> None:
        """What nobody names any more goes."""
        self.drain()
        self.now += LINGER + 1
        for client in self.clients:
            client.now = self.now
        for replica in self.replicas:
            replica.core.tick(self.now)

    @invariant()
    def every_worker_has_the_plans_in_use(self) -> None:
        clients = [*self.clients, *(client for client, _ in self.away)]
        needed = {
            name: envoy.node.id
            for envoy in clients
            if isinstance(envoy, EnvoyClient)
            for name in envoy.needs()
        }
        for client in clients:
            if isinstance(client, WorkerClient) and client in self.ready:
                missing = needed.keys() - client.names(PLAN)
                assert not missing, f"{client.node.id} lacks {missing}, in use at {needed}"

    @invariant()
    def every_envoy_has_the_clusters_in_use(self) -> None:
        for client in self.clients:
            if isinstance(client, EnvoyClient):
                assert client.needs() <= client.names(CLUSTER)

    def _exchange(self) -> int:
        """One round of everything that can happen."""
        count = 0
        for client in self.clients:
            count += client.deliver()
            while client.inbox:
                self._answer(client)
                count += 1
                self.every_worker_has_the_plans_in_use()
        for replica in self.replicas:
            count += replica.publish()
        for replica in self.replicas:
            count += replica.hear(100, self.now)
        return count

    def _answer(self, client: Client) -> None:
        response = client.answer()
        if response.type_url == PLAN:
            self.ready.add(client)
        if response.type_url == ROUTE:
            self.returned.discard(client)


TestTwoReplicas = TwoReplicas.TestCase
TestTwoReplicas.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),  # "explain" traces: slow
)
