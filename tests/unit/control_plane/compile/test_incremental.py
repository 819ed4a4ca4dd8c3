"""A compiler that has seen other revisions before gives what a fresh one gives, for less work."""

from __future__ import annotations

import random
from typing import Any
from unittest import mock

import pytest

from control_plane.compile import Compiler, GatewaySettings, units
from control_plane.compile.model import PLAN, ROUTE, SECRET, TYPES, Compiled, Hold
from control_plane.resources import Key, Resource, parse
from tests.support.gateway import document

Resources = dict[Key, Resource]


def made(kind: str, name: str, **spec: Any) -> Resource:
    return parse(document(kind, name, spec))


def upstream(number: int, port: int = 9000, key: str | None = None) -> Resource:
    url = f"http://127.0.0.1:{port}/v1"
    return made("Upstream", f"u{number}", dialect="openai", url=url, credential=key)


def credential(number: int, secret: str = "one") -> Resource:
    hosts = ["127.0.0.1"]
    return made("Credential", f"k{number}", type="bearer", secret=secret, allowedHosts=hosts)


def template(number: int, text: str = "hello") -> Resource:
    return made("Template", f"t{number}", messages=[{"role": "user", "content": text}])


def proxy(number: int, upstream: int, template: int | None) -> Resource:
    choices = [{"name": f"u{upstream}"}]
    more = {} if template is None else {"template": f"t{template}"}
    return made("Proxy", f"p{number}", upstreams=choices, **more)


def by_key(*resources: Resource) -> Resources:
    return {resource.key: resource for resource in resources}


def some() -> Resources:
    """Proxies with and without a template, two on each upstream, so that they share secrets."""
    parts = [(credential(i), upstream(i, 9000 + i, f"k{i}"), template(i)) for i in range(3)]
    proxies = [proxy(i, i % 3, i % 3 if i % 2 else None) for i in range(12)]
    return by_key(*(each for part in parts for each in part), *proxies)


def edit(resources: Resources, chance: random.Random) -> Resources:
    """One change, sometimes one that leaves something broken."""
    number = chance.randrange(12)
    changes = (
        lambda: credential(number % 3, f"secret-{chance.random()}"),
        lambda: upstream(number % 3, chance.randrange(9000, 9005), f"k{chance.randrange(3)}"),
        lambda: template(number % 3, f"text {chance.random()}"),
        lambda: proxy(number, chance.randrange(3), chance.choice([None, 0, 1, 2])),
    )
    if chance.random() < 0.25:
        gone = chance.choice(sorted(resources))
        return {key: resource for key, resource in resources.items() if key != gone}
    return resources | by_key(chance.choice(changes)())


@pytest.mark.parametrize("seed", range(20))
def test_edits_one_after_another_give_what_a_fresh_compiler_gives(seed: int) -> None:
    chance, resources, compiler = random.Random(seed), some(), Compiler(GatewaySettings())
    for revision in range(30):
        found = compiler.compile(revision, resources)
        fresh = Compiler(GatewaySettings()).compile(revision, resources)
        assert (found.resources, found.aside) == (fresh.resources, fresh.aside)
        assert found.units.keys() == fresh.units.keys()
        resources = edit(resources, chance)


def held(resources: Resources, chance: random.Random) -> dict[Key, Hold]:
    """Up to three proxies and upstreams that a node has refused, or had."""
    keys = sorted(key for key in resources if key.plural in ("proxies", "upstreams"))
    return {
        key: Hold(
            "no", "node", chance.choice([closure(key, resources), None]), chance.random() < 0.7
        )
        for key in chance.sample(keys, chance.randrange(4))
    }


def closure(key: Key, resources: Resources) -> Resources | None:
    """A resource with all that it names, and what that names; None if any of it is missing."""
    found = {key}
    for _ in range(2):
        found.update(*(resources[k].references() for k in found & resources.keys()))
    return {k: resources[k] for k in found} if found <= resources.keys() else None


@pytest.mark.parametrize("seed", range(20))
def test_so_do_edits_while_some_are_set_aside(seed: int) -> None:
    chance, resources, compiler = random.Random(seed), some(), Compiler(GatewaySettings())
    holds: dict[Key, Hold] = {}
    for revision in range(60):
        if chance.random() < 0.2:
            holds = held(resources, chance)
        found = compiler.compile(revision, resources, holds)
        fresh = Compiler(GatewaySettings()).compile(revision, resources, holds)
        assert (found.resources, found.aside) == (fresh.resources, fresh.aside)
        assert found.units.keys() == fresh.units.keys()
        resources = edit(resources, chance)


@pytest.mark.parametrize("serving", [True, False])
def test_what_is_set_aside_does_not_make_others_changes_costly(serving: bool) -> None:
    """Nothing goes through all resources but the look for what has changed."""
    resources, compiler = some(), Compiler(GatewaySettings())
    aside = Key("proxies", "p2")  # it uses no template
    good = closure(aside, resources) if serving else None
    holds = {aside: Hold("no", "node", good)}
    assert compiler.compile(1, resources, holds).aside.keys() == {aside}
    after = resources | by_key(template(1, "other"))
    with mock.patch.object(units.Units, "forget") as everything:
        found = compiler.compile(2, after, {aside: Hold("no", "node", good)})
    assert not everything.called
    fresh = Compiler(GatewaySettings()).compile(2, after, holds)
    assert (found.resources, found.aside) == (fresh.resources, fresh.aside)


def changed(before: Compiled, after: Compiled) -> dict[str, set[str]]:
    """The names that are new or other, by type."""
    pairs = {t: (before.resources[t], after.resources[t]) for t in TYPES}
    return {
        t: names for t, (a, b) in pairs.items() if (names := {n for n in b if a.get(n) != b[n]})
    }


def compiled_parts(compiler: Compiler, resources: Resources) -> dict[str, int]:
    """How often each costly part is compiled for these resources."""
    with (
        mock.patch.object(units, "compile_plan", wraps=units.compile_plan) as plan,
        mock.patch.object(units, "compile_branches", wraps=units.compile_branches) as branches,
        mock.patch.object(units, "compile_upstream", wraps=units.compile_upstream) as clusters,
    ):
        compiler.compile(2, resources)
    parts = {"plans": plan, "branches": branches, "clusters": clusters}
    return {name: part.call_count for name, part in parts.items()}


def test_one_proxys_change_compiles_that_proxy_alone() -> None:
    resources, compiler = some(), Compiler(GatewaySettings())
    before = compiler.compile(1, resources)
    assert not before.aside
    after = resources | by_key(proxy(1, 2, 1))
    assert compiled_parts(compiler, after) == {"plans": 1, "branches": 1, "clusters": 0}
    found = changed(before, compiler.compile(3, after))
    assert {t: len(names) for t, names in found.items()} == {PLAN: 1, ROUTE: 1}


def test_a_template_edit_compiles_the_plans_that_use_it_and_nothing_else() -> None:
    resources, compiler = some(), Compiler(GatewaySettings())
    before = compiler.compile(1, resources)
    after = resources | by_key(template(1, "other"))
    users = sum(Key("templates", "t1") in each.references() for each in resources.values())
    assert compiled_parts(compiler, after) == {"plans": users, "branches": 0, "clusters": 0}
    assert changed(before, compiler.compile(3, after)).keys() == {PLAN}


def test_a_rotated_credential_compiles_no_plan_and_no_route() -> None:
    resources, compiler = some(), Compiler(GatewaySettings())
    before = compiler.compile(1, resources)
    after = resources | by_key(credential(1, "two"))
    parts = compiled_parts(compiler, after)
    assert (parts["plans"], parts["branches"]) == (0, 0)
    assert changed(before, compiler.compile(3, after)).keys() == {SECRET}


def test_types_that_do_not_change_stay_the_same_objects() -> None:
    resources, compiler = some(), Compiler(GatewaySettings())
    before = compiler.compile(1, resources)
    after = compiler.compile(2, resources | by_key(template(1, "other")))
    same = {t for t in TYPES if before.resources[t] is after.resources[t]}
    assert same == set(TYPES) - {PLAN}
    assert before.resources[PLAN].keys() == after.resources[PLAN].keys()
