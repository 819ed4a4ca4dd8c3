"""`_discretion`: what is left of an answer for somebody who sees some teams only."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.access import ROOT, Caller
from control_plane.api._difference import Difference
from control_plane.api._discretion import HIDDEN, Discretion
from control_plane.api.errors import NotCompiled, NotFound, RejectedByNode
from control_plane.resources import BrokenReferences, InUse, Key, Problem, parse
from control_plane.store import Snapshot, Stored
from tests.support.access import whole_team

SNAPSHOT = Snapshot(
    stored={r.key: Stored(r, 1, 1) for r in map(parse, [*whole_team("a"), *whole_team("b")])}
)
DEVELOPER = Caller("id", "dev", frozenset({"developer"}), frozenset({"a"}))
TOLD = Discretion(DEVELOPER, SNAPSHOT)


def test_who_sees_everything_is_told_everything() -> None:
    value = {"proxies/b-proxy": "b-proxy#12ab"}
    told = Discretion(ROOT, SNAPSHOT)
    error = InUse((Problem("proxies/b-proxy", "names it", "-"),))
    assert told.told(value) is value
    assert told.error(error) is error


@pytest.mark.parametrize(("value", "told"), [
    ("a-proxy#12ab refused", "a-proxy#12ab refused"),
    ("b-proxy refused", HIDDEN),
    ("B-PROXY refused", HIDDEN),
    ("b-proxy-2 refused", "b-proxy-2 refused"),
    ("", ""),
    (7, 7),
    (None, None),
    ({"state": "b-proxy", "detail": "b-proxy"}, {"state": "b-proxy", "detail": HIDDEN}),
    ({"proxies/b-proxy": 1, "proxies/a-proxy": 2, "gateway/1": 3}, {"proxies/a-proxy": 2, "gateway/1": 3}),
    ([{"resource": "proxies/b-proxy"}, {"resource": "proxies/a-proxy"}], [{"resource": "proxies/a-proxy"}]),
    ([{"field": "proxies/gone", "message": "x"}, {"field": "$"}], [{"field": "$"}]),
    ([{"kind": "Proxy", "name": "b-proxy"}, {"kind": "Proxy", "name": "a-proxy"}], [{"kind": "Proxy", "name": "a-proxy"}]),
    (["proxies/b-proxy", "proxies/a-proxy"], ["proxies/a-proxy"]),
])  # fmt: skip
def test_values(value: Any, told: Any) -> None:
    assert TOLD.told(value) == told


def test_what_the_request_names_is_its_own() -> None:
    gone = Key("proxies", "gone")
    assert TOLD.words("gone#12ab is bad") == HIDDEN
    assert Discretion(DEVELOPER, SNAPSHOT, [gone]).words("gone#12ab is bad") == "gone#12ab is bad"


@pytest.mark.parametrize("kind", [InUse, BrokenReferences])
def test_problems_in_others_resources_become_one(kind: type[InUse | BrokenReferences]) -> None:
    problems = [
        Problem(f, "b-secret things", "-") for f in ("proxies/b-proxy", "upstreams/b-upstream")
    ]
    own = Problem("proxies/a-proxy", "is broken", "-")
    found = TOLD.error(kind((*problems, own), "subject"))
    assert isinstance(found, kind)
    assert [problem.field for problem in found.problems] == ["another team", "proxies/a-proxy"]
    assert "b-" not in str(found)


@pytest.mark.parametrize("kind", [NotCompiled, RejectedByNode])
def test_what_nodes_and_the_compiler_say(kind: type[NotCompiled | RejectedByNode]) -> None:
    problems = [
        Problem("nodes.gateway", "b-upstream#12ab: bad", "-"),
        Problem("nodes.other", "a-upstream#12ab: bad", "-"),
        Problem("proxies/b-proxy", "bad", "-"),
    ]
    found = TOLD.error(kind("stored, but", problems, {"x-naru-revision": "7"}))
    assert isinstance(found, kind)
    assert [problem.message for problem in found.problems] == [
        HIDDEN, "a-upstream#12ab: bad", "a resource of another team is in the way",
    ]  # fmt: skip
    assert found.headers == {"x-naru-revision": "7"}


def test_other_errors_pass() -> None:
    error = NotFound("there is none")
    assert TOLD.error(error) is error


def test_differences() -> None:
    names = ["naru", "a-proxy#12", "b-proxy#12", "gone#12", "b-upstream", "a-upstream"]
    found = TOLD.differences([Difference("Cluster", name, "added") for name in names])
    assert [each.name for each in found] == ["naru", "a-proxy#12", "a-upstream"]
