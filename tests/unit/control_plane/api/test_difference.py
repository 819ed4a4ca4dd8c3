"""`_difference`: what changes between two compiled revisions."""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.api._difference import difference
from control_plane.compile.model import CLUSTER, PLAN, ROUTE, Compiled, XdsResource


def compiled(contents: Mapping[str, Mapping[str, str]]) -> Compiled:
    return Compiled(
        1,
        {
            type_url: {
                name: XdsResource(type_url, name, version, b"") for name, version in named.items()
            }
            for type_url, named in contents.items()
        },
    )


def test_added_changed_and_removed_by_type_in_send_order() -> None:
    before = compiled({CLUSTER: {"a": "1", "b": "1"}, ROUTE: {"naru": "1"}})
    after = compiled({CLUSTER: {"a": "1", "c": "1"}, ROUTE: {"naru": "2"}, PLAN: {"p#1": "1"}})
    assert difference(before, after) == [
        ("Cluster", "b", "removed"),
        ("Cluster", "c", "added"),
        ("Plan", "p#1", "added"),
        ("RouteConfiguration", "naru", "changed"),
    ]


def test_nothing_between_equals() -> None:
    same = {CLUSTER: {"a": "1"}, ROUTE: {"naru": "1"}}
    assert difference(compiled(same), compiled(same)) == []
