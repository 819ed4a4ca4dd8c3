"""Units and what holds them: last good versions, and the rules that they are under all the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from control_plane.compile import (
    CLUSTER,
    PLAN,
    ROUTE,
    SECRET,
    Compiled,
    Compiler,
    GatewaySettings,
    Hold,
    units,
)
from control_plane.resources import Key, Resource, parse
from tests.support.api import credential, proxy, template, upstream

KEY, U, P = Key("credentials", "key"), Key("upstreams", "openai"), Key("proxies", "menu-copy")
TEMPLATE = Key("templates", "menu")


def resources(*changes: dict[str, Any], without: Key | None = None) -> dict[Key, Resource]:
    documents = [
        credential(allowedHosts=["127.0.0.1"]),
        upstream(credential="key"),
        template(),
        proxy(template="menu"),
        *changes,
    ]
    found = {each.key: each for each in map(parse, documents)}
    return {key: each for key, each in found.items() if key != without}


def moved(url: str = "http://127.0.0.1:9001/v1") -> dict[str, Any]:
    document = upstream(credential="key")
    document["spec"]["url"] = url
    return document


def compiled(found: Mapping[Key, Resource], holds: Mapping[Key, Hold] | None = None) -> Compiled:
    return Compiler(GatewaySettings()).compile(1, found, holds)


def held(*keys: Key, stands: bool = True) -> dict[Key, Hold]:
    good = compiled(resources())
    return {key: Hold("refused", "gateway", dict(good.units[key].read), stands) for key in keys}


BEFORE = compiled(resources())


def test_a_held_unit_gives_what_its_last_good_version_gave() -> None:
    after = compiled(resources(moved()), held(U, P))
    assert after.resources == BEFORE.resources
    assert {key: why.serving for key, why in after.aside.items()} == {U: True, P: True}


def test_without_a_last_good_version_it_is_left_out_and_its_users_say_why() -> None:
    after = compiled(resources(moved()), {U: Hold("refused", "gateway")})
    assert not after.resources[CLUSTER]
    assert not after.resources[PLAN]
    why = after.aside[P]
    assert (why.serving, why.below, why.node) == (False, U, "gateway")
    assert "upstreams/openai" in why.reason
    assert b"proxy_rejected" in next(iter(after.resources[ROUTE].values())).body


def test_a_reason_that_does_not_stand_any_more_holds_nothing() -> None:
    found = resources(moved())
    assert compiled(found, held(U, P, stands=False)).resources == compiled(found).resources


def test_the_users_of_what_is_under_suspicion_are_under_suspicion() -> None:
    after = compiled(resources(moved()), {U: Hold("refused", "gateway", certain=False)})
    assert not after.aside[P].certain


@pytest.mark.parametrize("missing", [KEY, TEMPLATE])
def test_what_is_missing_stops_only_its_users_and_their_last_good_version_serves(
    missing: Key,
) -> None:
    found = resources(without=missing)
    assert compiled(found).aside.keys() == {P}
    after = compiled(found, held(P, stands=False))
    assert after.aside[P].serving
    assert after.resources == BEFORE.resources


def test_a_rotated_secret_reaches_the_last_good_version() -> None:
    rotated = credential(secret="rotated-secret", allowedHosts=["127.0.0.1"])
    after = compiled(resources(moved(), rotated), held(U, P))
    (secret,) = after.resources[SECRET].values()
    assert b"rotated-secret" in secret.body
    assert after.aside[P].serving


def test_a_last_good_version_is_not_served_where_its_credential_may_not_go_any_more() -> None:
    elsewhere = credential(allowedHosts=["api.openai.com"])
    allowed = moved("https://api.openai.com/v1")
    after = compiled(resources(allowed, elsewhere), held(U, P))
    assert P not in after.units
    assert not after.resources[SECRET]


def test_a_last_good_version_is_not_served_with_a_credential_that_has_been_deleted() -> None:
    """Nobody names it any more, or it could not have been deleted."""
    after = compiled(resources(upstream(), without=KEY), held(P))
    assert P not in after.units
    assert not after.resources[SECRET]
    assert not after.aside[P].serving


def test_a_last_good_version_is_not_served_with_what_is_not_shared_any_more() -> None:
    theirs = {"team": "theirs"}
    shared = upstream("theirs", **theirs, sharedWith=["default"])
    user = proxy(to="theirs")
    good = compiled(resources(shared, user))
    holds = {P: Hold("refused", "gateway", dict(good.units[P].read))}
    after = compiled(resources(shared, proxy()), holds)
    assert after.aside[P].serving
    after = compiled(resources(upstream("theirs", **theirs), proxy()), holds)
    assert P not in after.units


@pytest.mark.parametrize(("team", "serving"), [("theirs", False), ("default", True)])
@pytest.mark.parametrize("kind", ["upstream", "template"])
def test_a_last_good_version_is_not_served_with_what_another_team_has_deleted(
    kind: str, team: str, serving: bool
) -> None:
    owner: dict[str, Any] = {"team": team, "sharedWith": ["*"]}
    if kind == "upstream":
        theirs, user = upstream("gone", **owner), proxy(to="gone")
    else:
        theirs, user = template("gone"), proxy(template="gone")
        theirs["metadata"] |= owner
    good = compiled(resources(theirs, user))
    holds = {P: Hold("refused", "gateway", dict(good.units[P].read))}
    after = compiled(resources(proxy()), holds)
    assert after.aside[P].serving == serving
    assert (P in after.units) == serving


def test_what_breaks_a_rule_has_nothing_in_its_place() -> None:
    """It can only have got there past the API."""
    after = compiled(resources(moved("http://other.example/v1")), held(P, stands=False))
    assert P not in after.units
    assert "allowedHosts" in after.aside[P].reason


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"url": "http://api.openai.com/v1"}, "in the clear"),
        ({"url": "https://api.openai.com/v1", "tls": {"serverName": "a.example"}}, "tls.ca"),
    ],
)
def test_a_shared_credential_is_not_sent_where_it_can_be_read(
    spec: dict[str, Any], why: str
) -> None:
    shared = credential() | {"metadata": {"name": "key", "team": "theirs", "sharedWith": ["*"]}}
    document = upstream(credential="key")
    document["spec"] |= spec
    after = compiled(resources(shared, document))
    assert P not in after.units
    assert why in after.aside[P].reason
    assert not after.resources[SECRET]


def test_a_warm_compiler_gives_the_same_bytes_as_a_fresh_one() -> None:
    warm = Compiler(GatewaySettings())
    steps: list[tuple[dict[Key, Resource], dict[Key, Hold]]] = [
        (resources(), {}),
        (resources(moved()), held(U, P)),
        (resources(without=KEY), held(P, stands=False)),
        (resources(without=KEY), {}),
        (resources(), {}),
    ]
    for found, holds in steps:
        assert warm.compile(1, found, holds).resources == compiled(found, holds).resources


def test_a_fault_of_the_compiler_stops_one_unit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(proxy: Any, *arguments: Any) -> Any:
        raise KeyError(proxy.metadata.name)

    monkeypatch.setattr(units, "compile_plan", faulty)
    after = compiled(resources())
    assert after.units.keys() == {U}
    assert "fault of the product" in after.aside[P].reason
