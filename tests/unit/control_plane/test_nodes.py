"""Reports on their way to etcd and back, with the keys in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping

import pytest

from control_plane import _nodes
from control_plane._nodes import Nodes
from control_plane.store import StoreUnavailable
from control_plane.xds import Hub, Report
from control_plane.xds.report import decode, encode
from control_plane.xds.stream import Node, Stream

pytestmark = pytest.mark.anyio
Changed = Callable[[Mapping[bytes, bytes | None]], None]


class Keys:
    """What `NodeKeys` does, without etcd."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.puts: list[int] = []
        """The bytes of each write."""
        self.away = False
        self.new = True
        self.news = asyncio.Event()
        self.changed: Changed
        self.stands: Callable[[bool], None]
        self.lost: Callable[[], None]
        self.followed = asyncio.Event()

    async def put(self, values: Mapping[str, bytes]) -> bool:
        if self.away:
            raise StoreUnavailable("away")
        self.puts.append(sum(map(len, values.values())))
        self.values.update(values)
        self.changed({name.encode(): value for name, value in values.items()})
        self.news.set()
        new, self.new = self.new, False
        return not new

    async def delete(self, nodes: Collection[str]) -> None:
        for node in nodes:
            del self.values[node]
            self.changed({node.encode(): None})
            self.news.set()

    async def keep(self, lost: Callable[[], None]) -> None:
        self.lost = lost
        await asyncio.Event().wait()

    async def follow(self, changed: Changed, stands: Callable[[bool], None]) -> None:
        self.changed, self.stands = changed, stands
        changed({})
        stands(True)
        self.followed.set()
        await asyncio.Event().wait()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():
                self.news.clear()
                await self.news.wait()

    def report(self, name: str) -> Report | None:
        return decode(self.values[name]) if name in self.values else None


class Site:
    def __init__(self) -> None:
        self.hub, self.keys = Hub(replica="one"), Keys()
        self.nodes = Nodes(
            self.hub, self.keys, lambda text: text.replace("sk-secret", "[redacted]")
        )

    def join(self, name: str) -> int:
        return self.hub.join(Stream(Node(name), "delta", lambda: None))

    def foreign(self, name: str, **told: object) -> None:
        value = encode(Report(name, "two", **told))  # type: ignore[arg-type]
        self.keys.values[name] = value
        self.keys.changed({name.encode(): value})


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(_nodes, "ABSENCE", 0.01)
    site = Site()
    task = asyncio.create_task(site.nodes.run())
    await site.keys.followed.wait()
    yield site
    task.cancel()
    await asyncio.wait({task})


async def test_a_node_is_reported_and_when_it_left_no_more(site: Site) -> None:
    number = site.join("a")
    await site.keys.until(lambda: "a" in site.keys.values)
    site.hub.leave(number)
    await site.keys.until(lambda: (r := site.keys.report("a")) is None or not r.connected)
    await site.keys.until(lambda: "a" not in site.keys.values)
    assert not site.hub.ledger.nodes()[0].connected


async def test_a_node_of_another_replica_is_known(site: Site) -> None:
    site.foreign("far", applied=7)
    (node,) = site.hub.ledger.nodes()
    assert (node.id, node.replica, node.applied_revision, node.old) == ("far", "two", 7, False)
    site.keys.stands(False)
    assert site.hub.ledger.nodes()[0].old


async def test_a_node_that_hops_is_left_to_its_new_replica(site: Site) -> None:
    site.join("a")
    await site.keys.until(lambda: "a" in site.keys.values)
    site.foreign("a")
    site.join("b")
    await site.keys.until(lambda: "b" in site.keys.values)
    report = site.keys.report("a")
    assert report is not None
    assert report.replica == "two"
    site.join("a")
    await site.keys.until(lambda: (r := site.keys.report("a")) is not None and r.replica == "one")


async def test_a_node_whose_new_replica_has_gone_is_ours_again(site: Site) -> None:
    site.join("a")
    await site.keys.until(lambda: "a" in site.keys.values)
    site.foreign("a")
    del site.keys.values["a"]
    site.keys.changed({b"a": None})
    await site.keys.until(lambda: (r := site.keys.report("a")) is not None and r.replica == "one")


async def test_after_an_outage_all_is_written_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_nodes, "FIRST_DELAY", 0.001)
    site.join("a")
    await site.keys.until(lambda: "a" in site.keys.values)
    site.keys.away = True
    site.keys.values.clear()
    site.join("b")
    site.keys.lost()
    site.keys.away = False
    await site.keys.until(lambda: site.keys.values.keys() == {"a", "b"})


def test_words_are_written_without_secrets() -> None:
    site = Site()
    report = Report("a", "one", words={1: "bad key sk-secret"})
    assert site.nodes._redacted(report).words == {1: "bad key [redacted]"}


async def test_a_fleet_is_written_in_parts_that_etcd_takes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_nodes, "MOST_BYTES", 500)
    names = [f"node-{number}" for number in range(50)]
    for name in names:
        site.join(name)
    await site.keys.until(lambda: site.keys.values.keys() >= set(names))
    assert max(site.keys.puts) <= 500
    assert sum(site.keys.puts) > 500


async def test_an_id_that_two_replicas_claim_again_and_again_is_told_of(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    for turn in range(_nodes.CLAIMS):
        assert not caplog.records
        site.join("a")
        await site.keys.until(
            lambda: (r := site.keys.report("a")) is not None and r.replica == "one"
        )
        for applied in (turn, turn + 1):  # one claim, whatever is told of it
            site.foreign("a", applied=applied)
    assert ["NARU_NODE_ID" in record.getMessage() for record in caplog.records] == [True]
