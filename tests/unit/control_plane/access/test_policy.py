"""The tables of roles: what each may do, for whose resources."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.access import ROLES, ROOT, Caller, Role, enters, grants, may, sees_everything
from control_plane.access.policy import roles_in, roles_with
from control_plane.resources import KINDS, Resource, parse


def resource(team: str = "a", shared: list[str] | None = None) -> Resource:
    metadata: dict[str, Any] = {"name": "t", "team": team, "sharedWith": shared}
    spec = {"messages": [{"role": "user", "content": "x"}]}
    return parse({"apiVersion": "naru/v1", "kind": "Template", "metadata": metadata, "spec": spec})


def caller(*roles: Role, teams: tuple[str, ...] = ("a",)) -> Caller:
    return Caller("id", "name", frozenset(roles), frozenset(teams))


@pytest.mark.parametrize("plural", KINDS)
@pytest.mark.parametrize(("role", "verbs"), [
    ("admin", "read write delete"), ("operator", "read write delete"),
    ("developer", "read write delete"), ("viewer", "read"),
])  # fmt: skip
def test_most_roles_make_no_difference_between_kinds(role: Role, verbs: str, plural: str) -> None:
    for verb in ("read", "write", "delete"):
        assert grants(caller(role), verb, plural) is (verb in verbs.split())


@pytest.mark.parametrize(("plural", "verbs"), [
    ("templates", "read write delete"), ("proxies", "read"), ("upstreams", "read"),
    ("credentials", ""),
])  # fmt: skip
def test_a_prompt_editor(plural: str, verbs: str) -> None:
    for verb in ("read", "write", "delete"):
        assert grants(caller("prompt-editor"), verb, plural) is (verb in verbs.split())


@pytest.mark.parametrize(("teams", "team", "shared", "read", "write"), [
    (("a",), "a", None, True, True),
    (("a", "b"), "b", None, True, True),
    (("*",), "b", None, True, True),
    (("a",), "b", None, False, False),
    (("a",), "b", ["a"], True, False),
    (("a",), "b", ["*"], True, False),
    (("a",), "b", ["c"], False, False),
    (("a",), "b", [], False, False),
    ((), "b", None, False, False),
    (("*",), "b", ["c"], True, True),
])  # fmt: skip
def test_teams(
    teams: tuple[str, ...], team: str, shared: list[str] | None, read: bool, write: bool
) -> None:
    who, what = caller("developer", teams=teams), resource(team, shared)
    assert (may(who, "read", what), may(who, "write", what)) == (read, write)
    assert may(who, "delete", what) is write


def test_roles_add_up() -> None:
    assert may(caller("viewer", "prompt-editor"), "write", resource())
    assert not may(caller("viewer"), "write", resource())
    assert not may(caller(), "read", resource())


@pytest.mark.parametrize("role", ROLES)
def test_areas(role: Role) -> None:
    for area in ("tokens", "audit", "keys"):
        assert enters(caller(role, teams=("*",)), area) is (role == "admin")


@pytest.mark.parametrize(("roles", "teams", "everything"), [
    (("admin",), ("*",), True), (("operator",), ("*",), True), (("viewer",), ("*",), True),
    (("developer",), ("*",), True), (("prompt-editor",), ("*",), False), (("viewer",), ("a",), False),
])  # fmt: skip
def test_who_sees_everything(roles: tuple[Role, ...], teams: tuple[str, ...], everything: bool) -> None:  # fmt: skip
    assert sees_everything(caller(*roles, teams=teams)) is everything


def test_the_next_step_names_the_roles() -> None:
    assert roles_with("write", "templates") == ("admin", "operator", "developer", "prompt-editor")
    assert roles_with("write", "proxies") == ("admin", "operator", "developer")
    assert roles_in("audit") == ("admin",)


def test_the_root_may_do_everything() -> None:
    assert all(grants(ROOT, verb, plural) for verb in ("read", "write", "delete") for plural in KINDS)  # type: ignore[arg-type]  # fmt: skip
    assert may(ROOT, "write", resource("anybodys"))
