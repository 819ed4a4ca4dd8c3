"""`_pages`: every resource once, whatever the size of a page."""

from __future__ import annotations

import pytest

from control_plane.api._pages import page
from control_plane.api.errors import BadRequest
from control_plane.resources import parse
from control_plane.store import Snapshot, Stored
from tests.support.api import credential, upstream

NAMES = [f"u{i:02}" for i in range(10)]
STORED = (
    Snapshot()
    .with_changes(
        1,
        [
            *(Stored(parse(upstream(n, team="even" if i % 2 == 0 else "odd")), 1, 1)
              for i, n in enumerate(reversed(NAMES))),
            Stored(parse(credential("u05")), 1, 1),
        ],
    )
    .stored
)  # fmt: skip


@pytest.mark.parametrize("limit", [1, 3, 5, 9, 10, 11])
@pytest.mark.parametrize("team", [None, "odd"])
def test_pages_hold_every_name_once_in_order(limit: int, team: str | None) -> None:
    names: list[str] = []
    token: str | None = None
    while True:
        found = page(STORED, "upstreams", limit=limit, token=token, team=team)
        assert len(found.items) <= limit
        names += [item.resource.metadata.name for item in found.items]
        token = found.token
        if token is None:
            break
        assert len(found.items) == limit
    assert names == (NAMES if team is None else NAMES[::2])


def test_a_page_continues_where_its_last_name_was_deleted() -> None:
    first = page(STORED, "upstreams", limit=3, token=None, team=None)
    less = {key: stored for key, stored in STORED.items() if key.name != "u02"}
    second = page(less, "upstreams", limit=3, token=first.token, team=None)
    assert [item.resource.metadata.name for item in second.items] == ["u03", "u04", "u05"]


@pytest.mark.parametrize(
    "token", ["x", "!!!", "dXBzdHJlYW1z", "Y3JlZGVudGlhbHMvYQ", "한국어", "/w=="]
)
def test_a_token_of_another_list_is_refused(token: str) -> None:
    with pytest.raises(BadRequest, match="not a token of this list"):
        page(STORED, "upstreams", limit=1, token=token, team=None)
