"""`isolation`: what is held at each moment; no nodes, no compile loop."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.compile import PLAN, ROUTE, Compiled, Compiler, GatewaySettings
from control_plane.isolate import Isolation
from control_plane.resources import Key, parse
from control_plane.store import Snapshot, Stored
from control_plane.xds import Refusal
from tests.support.api import MemoryStore, credential
from tests.support.isolation import CODEC, Offline, pair

pytestmark = pytest.mark.anyio
A, B = Key("proxies", "a"), Key("proxies", "b")


class Scene:
    """An isolation, and what is stored and compiled so far."""

    def __init__(self) -> None:
        self.isolation = Isolation(CODEC, MemoryStore().commit, Offline())
        self.snapshot = Snapshot()
        self.good: Compiled | None = None
        self._compiler = Compiler(GatewaySettings())

    def write(self, *documents: dict[str, Any]) -> Compiled:
        revision = self.snapshot.revision + 1
        puts = [Stored(parse(each), revision, revision) for each in documents]
        self.snapshot = self.snapshot.with_changes(revision, puts)
        return self.compile()

    def compile(self) -> Compiled:
        holds = self.isolation.holds(self.snapshot)
        now = self._compiler.compile(self.snapshot.revision, self.snapshot.resources, holds)
        self.isolation.found(now, self.good, self.snapshot)
        return now

    def refuse(self, target: Compiled, type_url: str, *named: str) -> Refusal:
        names = tuple(target.resources[type_url])
        refusal = Refusal("gateway", type_url, names, named, "no", target, self.good)
        self.isolation.refused(refusal, self.snapshot)
        return refusal


async def test_an_acquitted_last_good_version_is_held_again_as_before() -> None:
    """A rotated secret made it something new; what was refused of it earlier stays refused."""
    scene, keyed = Scene(), pair("a")
    keyed[0]["spec"]["credential"] = "key"
    hosts: dict[str, Any] = {"allowedHosts": ["127.0.0.1"]}
    scene.good = scene.write(credential(**hosts), *keyed)
    bad = pair("a", "bad-cluster", 1)[0]
    target = scene.write(bad)
    assert scene.refuse(target, PLAN, *target.resources[PLAN])
    scene.good = scene.compile()
    before = scene.isolation.holds(scene.snapshot)
    assert before[A].stands
    target = scene.write(credential(secret="rotated-secret", **hosts), *pair("b", "bad-route"))
    refusal = scene.refuse(target, ROUTE)
    assert not scene.isolation.holds(scene.snapshot)[B].certain
    assert await scene.isolation.examine(refusal, lambda: scene.snapshot)
    after = scene.isolation.holds(scene.snapshot)
    assert after[A].closure == before[A].closure
    assert after[B].certain


def test_what_has_just_been_refused_is_not_mended() -> None:
    """Though what is live, before it is compiled again, has it like everything else."""
    scene = Scene()
    scene.good = scene.write(*pair("a"))
    target = scene.write(*pair("a", "bad-plan", 1))
    assert target.units.keys() - target.aside.keys() >= {A}
    scene.refuse(target, PLAN, *target.resources[PLAN])
    assert not scene.isolation.mended(target, scene.snapshot)
    again = scene.write(*pair("a", version=2))
    assert scene.isolation.mended(again, scene.snapshot).keys() == {A}


def test_every_verdict_makes_another_edition() -> None:
    scene = Scene()
    scene.good = scene.write(*pair("a"))
    before = scene.isolation.edition
    target = scene.write(*pair("a", "bad-plan", 1))
    assert scene.isolation.edition == before
    scene.refuse(target, PLAN, *target.resources[PLAN])
    assert scene.isolation.edition > before


def test_a_refusal_of_what_has_changed_since_says_nothing_of_what_is_stored() -> None:
    scene = Scene()
    scene.good = scene.write(*pair("a"))
    refused = scene.write(*pair("a", "bad-plan", 1))
    scene.write(*pair("a", version=2))
    scene.refuse(refused, PLAN, *refused.resources[PLAN])
    assert not scene.isolation.holds(scene.snapshot)


def test_a_nodes_words_are_kept_short_and_without_secrets() -> None:
    scene = Scene()
    scene.good = scene.write(credential(secret="canary-secret"), *pair("a"))
    target = scene.write(*pair("a", "bad-plan", 1))
    names = tuple(target.resources[PLAN])
    words = "canary-secret " + "x" * 5000
    refusal = Refusal("gateway", PLAN, names, names, words, target, scene.good)
    scene.isolation.refused(refusal, scene.snapshot)
    reason = scene.isolation.holds(scene.snapshot)[A].reason
    assert "canary-secret" not in reason
    assert len(reason) < 1200


@pytest.mark.parametrize("start", [True, False])
async def test_who_was_not_cleared_in_time_stays_aside_under_words_of_its_own(
    start: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.isolate.culprits.LONGEST", -1.0)
    scene = Scene()
    good = scene.write(*pair("c"))
    scene.good = None if start else good
    target = scene.write(*pair("a"), *pair("b", "bad-route"))
    refusal = scene.refuse(target, ROUTE)
    assert await scene.isolation.examine(refusal, lambda: scene.snapshot)
    holds = scene.isolation.holds(scene.snapshot)
    assert {A, B} <= holds.keys()
    assert all(hold.certain for hold in holds.values())
    words = "gateway refused it among others, and it was not cleared in time: no"
    assert {hold.reason for hold in holds.values()} == {words}


async def test_a_refusal_that_is_never_examined_leaves_nothing_behind() -> None:
    """Else a later one in its place in memory would be taken for it."""
    scene = Scene()
    scene.good = scene.write(*pair("c"))
    target = scene.write(*pair("a"), *pair("b", "bad-route"))
    refusal = scene.refuse(target, ROUTE)
    assert scene.isolation._cases
    del refusal
    assert not scene.isolation._cases
