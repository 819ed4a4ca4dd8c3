"""The whole circle: a node refuses, who is at fault is found, the rest goes live, etcd is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.compile import LISTENER, PLAN, Compiled
from control_plane.resources import Key
from control_plane.store import Snapshot, StoreUnavailable
from tests.support.api import MemoryStore
from tests.support.isolation import Node, Offline, World, is_bad, pair, running, until, write

pytestmark = pytest.mark.anyio

MARKS = ("bad-cluster", "bad-route", "bad-plan")
NAMES = [f"p{number}" for number in range(6)]
KIND = st.sampled_from(["good", "good", *MARKS, "gone"])
EDITS = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(NAMES), KIND, min_size=1), st.booleans()),
    min_size=1,
    max_size=6,
)


def check(world: World, node: Node, kinds: dict[str, str]) -> None:
    """What must be so when all is settled: `kinds` is what is stored."""
    bad = {name for name, kind in kinds.items() if kind in MARKS}
    asides = {name.partition("/")[2] for name in world.aside}
    assert asides == bad
    assert {record.partition("/")[2] for record in world.records} == bad
    assert not any(is_bad(xds) for table in node.cache.values() for xds in table.values())
    served = {xds.name.partition("#")[0] for xds in node.cache[PLAN].values()}
    good = {name for name, kind in kinds.items() if kind == "good"}
    assert good <= served <= good | bad
    assert all(f"/p/{name}".encode() in node.routes for name in good)
    assert not {offer: times for offer, times in node.refused.items() if times > 1}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=EDITS, restart=st.booleans())
def test_whatever_is_edited_exactly_the_bad_ones_are_aside_and_each_was_offered_once(
    edits: list[tuple[dict[str, str], bool]], restart: bool
) -> None:
    asyncio.run(_edited(edits, restart))


async def _edited(edits: list[tuple[dict[str, str], bool]], restart: bool) -> None:
    kinds: dict[str, str] = {}
    async with running(validator=Offline()) as world:
        node = Node(world.hub)
        await write(world.store, *pair("first"))
        kinds["first"] = "good"
        await world.settle()
        for version, (edit, wait) in enumerate(edits):
            await write(world.store, *_documents(edit, version), delete=_gone(edit))
            kinds = {k: v for k, v in {**kinds, **edit}.items() if v != "gone"}
            if wait:
                await world.settle()
                check(world, node, kinds)
        await world.settle()
        check(world, node, kinds)
        store = world.store
    if restart:
        async with running(store, Offline()) as world:
            node.join(world.hub)
            await world.settle()
            check(world, node, kinds)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=EDITS)
def test_two_replicas_with_nodes_of_their_own_come_to_the_same_and_then_rest(
    edits: list[tuple[dict[str, str], bool]],
) -> None:
    asyncio.run(_edited_at_two(edits))


async def _edited_at_two(edits: list[tuple[dict[str, str], bool]]) -> None:
    kinds: dict[str, str] = {}
    async with running(validator=Offline()) as one, running(one.store, Offline()) as two:
        here, there, slow = Node(one.hub), Node(two.hub), Node(two.hub, "slow")
        for version, (edit, wait) in enumerate([({"first": "good"}, True), *edits]):
            await write(one.store, *_documents(edit, version), delete=_gone(edit))
            kinds = {k: v for k, v in {**kinds, **edit}.items() if v != "gone"}
            slow.silent = not wait
            if wait:
                await one.settle()
                await two.settle()
        slow.speak()
        for _ in range(2):  # each may still have had something to write
            await one.settle()
            await two.settle()
        check(one, here, kinds)
        check(two, there, kinds)
        check(two, slow, kinds)


def _documents(edit: dict[str, str], version: int) -> list[dict[str, Any]]:
    return [
        each
        for name, kind in edit.items()
        if kind != "gone"
        for each in pair(name, "" if kind == "good" else kind, version)
    ]


def _gone(edit: dict[str, str]) -> list[str]:
    return [name for name, kind in edit.items() if kind == "gone"]


async def test_the_last_good_version_serves_on_and_comes_back_after_a_restart() -> None:
    async with running(validator=Offline()) as world:
        node = Node(world.hub)
        await write(world.store, *pair("a"), *pair("b"))
        await world.settle()
        good = dict(node.cache[PLAN])
        await write(world.store, *pair("a", "bad-route", 1))
        await world.settle()
        assert node.cache[PLAN] == good
        assert world.loop.live is not None
        assert all(why.serving for why in world.loop.live.aside.values())
    async with running(world.store) as other:
        newcomer = Node(other.hub)
        await other.settle()
        assert newcomer.cache[PLAN] == good
        assert not newcomer.refused


async def test_two_replicas_whose_nodes_both_refuse_set_the_same_aside() -> None:
    async with (
        running(validator=Offline()) as world,
        running(world.store, Offline()) as other,
    ):
        node, there = Node(world.hub), Node(other.hub)
        await write(world.store, *pair("a"))
        await world.settle()
        await other.settle()
        there.silent = True
        await write(world.store, *pair("a", "bad-route", 1), *pair("b"))
        await world.settle()
        there.speak()
        await other.settle()
        assert other.aside == world.aside == {"proxies/a"}
        assert node.cache[PLAN] == there.cache[PLAN]


async def test_an_outage_of_etcd_keeps_it_here_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("control_plane.isolate.warden.AGAIN", 0.01)
    async with running(validator=Offline()) as world:
        node = Node(world.hub)
        await write(world.store, *pair("a"))
        await world.settle()
        await write(world.store, *pair("a", "bad-cluster", 1), *pair("b"))
        world.store.error = StoreUnavailable("away")
        await until(lambda: "/p/b" in node.routes.decode("latin-1"), lambda: "b is not live")
        await until(lambda: bool(world.aside), lambda: "nothing is aside")
        assert not world.records
        world.store.error = None
        await world.settle()
        assert world.records == {"proxies/a", "upstreams/a"}


async def test_without_an_envoy_to_ask_all_suspects_stay_aside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as world:
        node = Node(world.hub)
        await write(world.store, *pair("a"))
        await world.settle()
        await write(world.store, *pair("b"), *pair("c", "bad-route"))
        await world.settle()
        assert world.aside >= {"proxies/b", "proxies/c"}
        assert "NARU_ENVOY_BINARY" in caplog.text
        assert b"/p/a" in node.routes


async def test_at_a_start_nothing_is_taken_away_on_suspicion() -> None:
    """No version is known to be good: the node goes on with what it has until it is known."""
    store = MemoryStore()
    async with running(store, Offline()) as world:
        node = Node(world.hub)
        await write(store, *pair("a"), *pair("b"))
        await world.settle()
    await write(store, *pair("b", "bad-route", 1))
    async with running(store, Offline()) as world:
        routes = set[bytes]()
        node.join(world.hub)
        await until(lambda: routes.add(node.routes) or world.is_settled(), lambda: "unsettled")  # type: ignore[func-returns-value]
        assert all(b"/p/a" in seen for seen in routes)
        assert world.aside == {"proxies/b"}


async def test_at_a_start_with_nobody_to_ask_everything_stays_as_it_is() -> None:
    store = MemoryStore()
    await write(store, *pair("a"), *pair("b", "bad-route"))
    async with running(store) as world:
        Node(world.hub)
        await until(lambda: world.state() == "rejected", world.state)
        assert not world.aside


async def test_a_bad_upstream_takes_its_users_along_and_mending_it_brings_them_back() -> None:
    async with running(validator=Offline()) as world:
        node = Node(world.hub)
        await write(world.store, *pair("a"))
        await world.settle()
        await write(world.store, pair("a", "bad-cluster", 1)[0])
        await world.settle()
        assert world.aside == {"proxies/a", "upstreams/a"}
        late = pair("late")[1] | {"spec": {"upstreams": [{"name": "a"}]}}
        revision = await write(world.store, late)
        await world.settle()
        assert world.loop.live is not None
        why = world.loop.live.aside[Key("proxies", "late")]
        assert not why.serving
        assert why.below == Key("upstreams", "a")
        assert world.state(revision) == "applied"
        await write(world.store, pair("a", version=2)[0])
        await world.settle()
        assert not world.aside
        assert not world.records
        assert b"/p/late" in node.routes


async def test_one_that_is_edited_to_use_what_is_aside_keeps_its_last_good_version() -> None:
    async with running(validator=Offline()) as world:
        node = Node(world.hub)
        await write(world.store, *pair("a"), *pair("b"))
        await world.settle()
        good = dict(node.cache[PLAN])
        await write(world.store, pair("a", "bad-cluster", 1)[0])
        await world.settle()
        moved = pair("b")[1] | {"spec": {"upstreams": [{"name": "a"}]}}
        await write(world.store, moved)
        await world.settle()
        assert node.cache[PLAN] == good
        assert world.aside == {"proxies/a", "upstreams/a", "proxies/b"}


async def test_a_refused_revision_is_not_called_applied_once_it_has_been_mended() -> None:
    async with running(validator=Offline()) as world:
        Node(world.hub)
        await write(world.store, *pair("a"))
        await world.settle()
        bad = await write(world.store, *pair("a", "bad-cluster", 1))
        await world.settle()
        mended = await write(world.store, *pair("a", version=2))
        await world.settle()
        assert world.loop.verdicts.of(bad).keys() == {
            Key("upstreams", "a"),
            Key("proxies", "a"),
        }
        assert not world.loop.verdicts.of(mended)


async def test_a_record_stays_until_the_silent_have_it_too() -> None:
    async with running(validator=Offline()) as world:
        Node(world.hub)
        slow = Node(world.hub, "slow")
        await write(world.store, *pair("a"))
        await world.settle()
        await write(world.store, *pair("a", "bad-cluster", 1))
        await world.settle()
        slow.silent = True
        await write(world.store, *pair("a", version=2))
        await until(lambda: not world.aside, lambda: "still aside")
        assert world.records == {"proxies/a", "upstreams/a"}
        slow.speak()
        await world.settle()
        assert not world.records


async def test_a_last_good_version_that_is_refused_too_is_left_out_for_good() -> None:
    async with running(validator=Offline()) as world:
        Node(world.hub)
        await write(world.store, *pair("a"), *pair("b"))
        await world.settle()
        await write(world.store, *pair("a", "bad-plan", 1))
        await world.settle()
    async with running(world.store, Offline()) as other:
        picky = Node(other.hub)
        picky.dislikes = lambda xds: xds.type_url == PLAN and xds.name.startswith("a#")
        await other.settle()
        assert sum(picky.refused.values()) == 1
        assert other.loop.live is not None
        assert not other.loop.live.aside[Key("proxies", "a")].serving
        assert b"proxy_rejected" in picky.routes
    async with running(world.store) as third:
        picky.join(third.hub)
        await third.settle()
        assert sum(picky.refused.values()) == 1


async def test_what_no_resource_can_be_blamed_for_is_rejected_and_not_sent_again() -> None:
    async with running(validator=Offline()) as world:
        node = Node(world.hub)
        node.dislikes = lambda xds: xds.type_url == LISTENER
        revision = await write(world.store, *pair("a"))
        await until(lambda: world.state(revision) == "rejected", world.state)
        assert sum(node.refused.values()) == 1
        assert not world.aside


async def test_a_fault_of_the_examination_costs_one_revision_and_not_the_process() -> None:
    class Broken:
        async def accepts(self, units: object) -> bool:
            raise KeyError("unlucky")

    async with running(validator=Broken()) as world:
        node = Node(world.hub)
        await write(world.store, *pair("a"))
        await world.settle()
        await write(world.store, *pair("b"), *pair("c", "bad-route"))
        await world.settle()
        assert world.aside == {"proxies/b", "proxies/c"}
        await write(world.store, *pair("d"))
        await world.settle()
        assert b"/p/d" in node.routes


async def test_what_was_ready_at_the_moment_of_a_refusal_is_not_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next revision, of somebody else, was made without knowing what is bad about this one."""
    async with running(validator=Offline()) as world:
        node = Node(world.hub)
        await write(world.store, *pair("a"))
        await world.settle()
        node.silent = True
        bad = await write(world.store, *pair("b", "bad-route"))
        await world.loop.wait_for(bad, 10)
        found = world.isolation.found

        def refused_just_then(compiled: Compiled, good: Compiled | None, now: Snapshot) -> bool:
            news = found(compiled, good, now)
            node.speak_at_once()
            return news

        monkeypatch.setattr(world.isolation, "found", refused_just_then)
        await write(world.store, *pair("c"))
        await world.settle()
        assert b"/p/c" in node.routes
        assert world.aside == {"proxies/b"}
        assert sum(node.refused.values()) == 1


@pytest.mark.parametrize("type_url", [PLAN, LISTENER])
async def test_a_nodes_name_and_words_make_no_lines_in_the_log(
    type_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a plan it is known who is to blame, of a listener nobody is."""
    async with running(validator=Offline()) as world:
        node = Node(world.hub, "gate\nway")
        node.words = "no\nERROR forged \u2028\x1b[31m"
        node.dislikes = lambda xds: xds.type_url == type_url
        revision = await write(world.store, *pair("a"))
        await world.loop.wait_for(revision, 10)
        await until(lambda: bool(world.aside) or world.state(revision) == "rejected", world.state)
    assert any(r"gate\nway" in record.getMessage() for record in caplog.records)
    assert all(record.getMessage().isprintable() for record in caplog.records)
