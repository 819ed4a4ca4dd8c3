"""`suspects`: who may be why a node refused a response."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from control_plane.compile import CLUSTER, PLAN, ROUTE, Compiled, Compiler, GatewaySettings, Hold
from control_plane.isolate import suspects
from control_plane.resources import Key, parse
from control_plane.xds import Refusal
from tests.support.isolation import pair

A, B = Key("proxies", "a"), Key("proxies", "b")


def compiled(revision: int, *documents: dict[str, Any]) -> Compiled:
    resources = [parse(each) for each in documents]
    return Compiler(GatewaySettings()).compile(revision, {r.key: r for r in resources})


GOOD = compiled(1, *pair("a"))
TARGET = compiled(2, *pair("a", version=1), *pair("b"))


def refusal(type_url: str, *named: str, good: Compiled | None = GOOD) -> Refusal:
    names = tuple(TARGET.resources[type_url])
    return Refusal("gateway", type_url, names, named, "words", TARGET, good)


def test_the_named_and_those_made_of_them() -> None:
    cluster = next(name for name in TARGET.resources[CLUSTER] if name.startswith("b#"))
    assert suspects.named(refusal(CLUSTER, cluster)) == {B, Key("upstreams", "b")}
    plan = next(name for name in TARGET.resources[PLAN] if name.startswith("a#"))
    assert suspects.named(refusal(PLAN, plan)) == {A}
    assert not suspects.named(refusal(CLUSTER))


def test_of_routes_every_proxy_that_changed() -> None:
    assert suspects.suspected(refusal(ROUTE)).keys() == {A, B}


def test_of_others_every_unit_that_gives_something_new_and_was_in_it() -> None:
    assert suspects.suspected(refusal(PLAN)).keys() == {A, B}
    assert suspects.suspected(refusal(CLUSTER)).keys() == {Key("upstreams", "b")}
    assert not suspects.suspected(replace(refusal(PLAN), names=("elsewhere#1",)))


def test_with_nothing_known_to_be_good_everybody() -> None:
    assert suspects.suspected(refusal(ROUTE, good=None)).keys() == {A, B}


def test_a_last_good_version_that_is_held_is_no_suspect() -> None:
    resources = {r.key: r for r in map(parse, [*pair("a", version=1), *pair("b")])}
    holds = {key: Hold("refused", "gateway", dict(GOOD.units[key].read)) for key in GOOD.units}
    held = Compiler(GatewaySettings()).compile(2, resources, holds)
    assert held.units[A] is not GOOD.units[A]
    found = suspects.suspected(replace(refusal(ROUTE), target=held))
    assert found.keys() == {B}
