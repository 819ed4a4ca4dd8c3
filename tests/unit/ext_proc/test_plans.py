from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from control_plane.compile.model import digest
from ext_proc.errors import PlanRejected
from ext_proc.plan import Plan, encode
from ext_proc.plans import PlanTable
from tests.unit.ext_proc.make import BARE, CANARY, PLAN, secret, table, template


class Unsearched(list[str]):
    """Like protobuf's repeated field: looking for one name after the other takes quadratic time."""

    def __contains__(self, name: object) -> bool:
        raise AssertionError("searched through")


def test_removals_are_not_searched_through_name_by_name() -> None:
    assert not table(PLAN).with_plans({}, Unsearched(["menu#1a"])).plans


def test_plans_are_found_by_the_name_of_their_route() -> None:
    compiled = table().plans["menu#1a"]
    assert compiled.proxy.name == "menu"
    assert compiled.version == f"menu#1a.{digest(encode(PLAN))}"  # what the compiler calls it


def test_the_version_is_the_contents_hash() -> None:
    changed = replace(PLAN, params={"temperature": 0})
    assert table().plans["menu#1a"].version == table().plans["menu#1a"].version
    assert table().plans["menu#1a"].version != table(changed).plans["menu#1a"].version


def test_a_table_never_changes() -> None:
    old = table()
    new = old.with_plans({}, ["menu#1a", "never there"]).with_secrets({}, ["menu-key"])
    assert set(new.plans) == {"bare#1a"}
    assert set(old.plans) == {"menu#1a", "bare#1a"}
    assert old.credential(old.plans["menu#1a"]) == "Bearer sk-123"
    with pytest.raises(TypeError):
        new.plans["x"] = old.plans["menu#1a"]  # type: ignore[index]


def test_an_update_compiles_only_what_it_holds() -> None:
    old = table()
    new = old.with_plans({BARE.name: encode(replace(BARE, model="other"))}, ())
    assert new.plans[PLAN.name] is old.plans[PLAN.name]
    assert new.plans[BARE.name].proxy.model == "other"


BAD: list[tuple[Plan, str]] = [
    (replace(PLAN, dialect="morse"), "dialect morse"),
    (replace(PLAN, lane="duplex", restore={"": "x"}), "restore"),
    (replace(PLAN, params={"messages": []}), "params cannot set messages"),
    (replace(PLAN, template=template("{{ a")), "syntax error"),
    (replace(PLAN, template=template("{{ a }}", schema={"type": 3})), "variables: "),
    (replace(PLAN, template=template("{% include 'x' %}")), "'include'"),
]


@pytest.mark.parametrize(("plan", "reason"), BAD)
def test_a_plan_that_cannot_be_used_is_named_with_the_reason(plan: Plan, reason: str) -> None:
    with pytest.raises(PlanRejected) as caught:
        PlanTable().with_plans({plan.name: encode(plan), BARE.name: encode(BARE)}, ())
    assert str(caught.value).startswith("plan menu#1a: ")
    assert reason in str(caught.value)


def test_all_problems_are_named() -> None:
    updates: dict[str, Any] = {"a#1": b"\xff", "b#1": encode(PLAN), BARE.name: encode(BARE)}
    with pytest.raises(
        PlanRejected, match=r"plan a#1: not a plan.*; plan b#1: it calls itself menu"
    ):
        PlanTable().with_plans(updates, ())


def test_secrets_never_show() -> None:
    filled = PlanTable().with_secrets({"k": secret(CANARY.encode())}, ())
    assert CANARY not in repr(filled)
    for bad in (b"\xff" + CANARY.encode(), secret(CANARY.encode() + b"\x00")):
        with pytest.raises(PlanRejected, match="secret k: ") as caught:
            filled.with_secrets({"k": bad}, ())
        assert CANARY not in str(caught.value)
        assert caught.value.__cause__ is None


def test_native_plans_are_not_a_workers_business() -> None:
    native = replace(PLAN, lane="native", template=None)
    assert not PlanTable().with_plans({native.name: encode(native)}, ()).plans
