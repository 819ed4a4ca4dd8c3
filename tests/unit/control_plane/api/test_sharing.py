"""Taking back what is shared, and how its users are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from control_plane.api._sharing import refuse_withdrawal
from control_plane.resources import InUse, Key, Resource, parse
from control_plane.store import Changes, Snapshot, Stored
from tests.support.gateway import document


class Unread(Mapping[Key, Resource]):
    """All resources, for one who does not go through them."""

    def __init__(self, known: Mapping[Key, Resource]) -> None:
        self._known = known

    def __getitem__(self, key: Key) -> Resource:
        return self._known[key]

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Key]:
        raise AssertionError("every resource was looked at")


def credential(*shared: str) -> Resource:
    spec = {"type": "bearer", "secret": "s", "allowedHosts": ["api.example.com"]}
    return parse(document("Credential", "key", spec, team="platform", sharedWith=list(shared)))


def upstream(team: str) -> Resource:
    spec = {"dialect": "openai", "url": "https://api.example.com/v1", "credential": "key"}
    return parse(document("Upstream", team, spec, team=team))


def snapshot(*resources: Resource) -> Snapshot:
    made = Snapshot().with_changes(1, [Stored(each, 1, 1) for each in resources])
    assert made.users  # found once, and carried on from then
    made.__dict__["resources"] = Unread(made.resources)
    return made


def changes(*resources: Resource) -> Changes:
    return Changes({each.key: each for each in resources})


def test_sharing_is_not_taken_back_from_who_uses_it() -> None:
    before = snapshot(credential("menu", "chat"), upstream("menu"), upstream("chat"))
    with pytest.raises(InUse) as refused:
        refuse_withdrawal(before, changes(credential("chat")))
    assert [problem.field for problem in refused.value.problems] == ["upstreams/menu"]


def test_nor_when_it_was_shared_with_all() -> None:
    before = snapshot(credential("*"), upstream("menu"), upstream("chat"))
    with pytest.raises(InUse) as refused:
        refuse_withdrawal(before, changes(credential("platform")))
    found = [problem.field for problem in refused.value.problems]
    assert found == ["upstreams/chat", "upstreams/menu"]


def test_it_is_taken_back_from_who_does_not_use_it() -> None:
    before = snapshot(credential("menu", "chat"), upstream("chat"))
    refuse_withdrawal(before, changes(credential("chat")))
