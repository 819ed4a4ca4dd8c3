"""The versions of a credential: what is kept, what is shown, and what comes back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from control_plane.api import NotFound
from control_plane.api._versions import of, put_back, recorded, shown
from control_plane.resources import BrokenReferences, InvalidResource, parse
from control_plane.store import Changes, Kek, KeksFromText, Keyring, Snapshot, Stored, versions
from control_plane.store.model import StoredRecord
from tests.support.documents import KEY_A, credential, secret_of, upstream

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RING = Keyring(KeksFromText(Kek(bytes(32)).to_base64()))


def after(snapshot: Snapshot, changes: Changes) -> Snapshot:
    """What the store would make of it."""
    revision = snapshot.revision + 1
    puts = [Stored(resource, 1, revision) for resource in changes.puts.values()]
    records = {
        name: None if value is None else StoredRecord(value, revision)
        for name, value in changes.records.items()
    }
    return snapshot.with_changes(revision, puts, changes.deletes, records=records)


def setting(snapshot: Snapshot, *secrets: str, by: str = "admin", **spec: object) -> Snapshot:
    """The credential `a` set to each secret in turn."""
    for secret in secrets:
        puts = Changes({KEY_A: credential("a", secret, **spec)})
        snapshot = after(snapshot, recorded(snapshot, puts, RING, by, NOW))
    return snapshot


def back(snapshot: Snapshot, number: int | None = None) -> Snapshot:
    return after(snapshot, put_back(snapshot, KEY_A, number, RING, "admin"))


def secret(snapshot: Snapshot) -> str:
    return secret_of(snapshot.stored[KEY_A].resource)


def test_each_secret_is_a_version_and_only_earlier_ones_are_kept_sealed() -> None:
    snapshot = setting(Snapshot(), "sk-one", "sk-two", by="mina")  # "-" is not in base64
    first, second = of(snapshot, KEY_A)
    assert (first.number, second.number) == (1, 2)
    assert (second.created, second.by) == ("2026-01-02T03:04:05Z", "mina")
    assert first.sealed is not None
    assert second.sealed is None
    record = snapshot.records["versions/a"].value
    assert b"sk-one" not in record
    assert b"sk-two" not in record


def test_a_change_of_anything_else_is_no_version() -> None:
    snapshot = setting(Snapshot(), "one")
    same = recorded(
        snapshot, Changes({KEY_A: credential("a", "one", allowedHosts=["x"])}), RING, "admin"
    )
    assert same.records == {}
    other = upstream("u")
    assert recorded(snapshot, Changes({other.key: other}), RING, "admin").records == {}


def test_the_one_before_comes_back_as_a_new_version() -> None:
    snapshot = back(setting(Snapshot(), "one", "two"))
    assert secret(snapshot) == "one"
    assert [(v.number, v.source) for v in of(snapshot, KEY_A)] == [(1, None), (2, None), (3, 1)]
    assert secret(back(snapshot)) == "two", "and back again"


def test_a_version_comes_back_by_its_number() -> None:
    snapshot = setting(Snapshot(), "one", "two", "three")
    assert secret(back(snapshot, 1)) == "one"
    assert secret(back(snapshot, 2)) == "two"


@pytest.mark.parametrize("number", [3, 4, None])
def test_what_is_not_kept_does_not_come_back(number: int | None) -> None:
    snapshot = setting(Snapshot(), "one", "two", "three") if number else setting(Snapshot(), "one")
    with pytest.raises(NotFound):
        back(snapshot, number)
    with pytest.raises(NotFound):
        back(Snapshot(), number)


def test_five_versions_are_kept() -> None:
    snapshot = setting(Snapshot(), *(f"secret-{i}" for i in range(9)))
    assert [version.number for version in of(snapshot, KEY_A)] == [5, 6, 7, 8, 9]
    assert secret(back(snapshot, 5)) == "secret-4"
    with pytest.raises(NotFound, match="version 4"):
        back(snapshot, 4)


def test_a_deleted_credential_leaves_nothing() -> None:
    snapshot = setting(Snapshot(), "one", "two")
    gone = after(
        snapshot, recorded(snapshot, Changes(deletes=frozenset({KEY_A})), RING, "admin", NOW)
    )
    assert "versions/a" not in gone.records
    anew = setting(gone, "fresh")
    assert [version.number for version in of(anew, KEY_A)] == [1]


def test_a_credential_from_before_there_were_versions_has_one() -> None:
    snapshot = Snapshot().with_changes(1, [Stored(credential("a", "old"), 1, 1)])
    (version,) = of(snapshot, KEY_A)
    assert (version.number, version.created, version.by) == (1, None, None)
    assert secret(back(setting(snapshot, "new"))) == "old"


def test_versions_that_cannot_be_read_do_not_hold_a_new_secret_up() -> None:
    snapshot = setting(Snapshot(), "one", "two")
    broken = snapshot.with_changes(9, records={"versions/a": StoredRecord(b"{", 9)})
    assert secret(setting(broken, "three")) == "three"


def test_what_is_shown_holds_no_secret() -> None:
    snapshot = setting(Snapshot(), "one", "two")
    for version in of(snapshot, KEY_A):
        text = f"{shown(version, present=False)}{version!r}"
        assert "sealed" not in text
        assert "ciphertext" not in text


MEANT: dict[str, Any] = {"allowedHosts": ["api.openai.com"], "expiresAt": "2030-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "junk",
    [{"allowedHosts": ["evil.example"]}, {"type": "header", "header": "x-shown"}],
)
def test_a_secret_comes_back_for_the_hosts_and_the_header_that_it_was_meant_for(
    junk: dict[str, Any],
) -> None:
    """Who writes a secret of his own may name any host, and must not get an earlier one there."""
    snapshot = setting(setting(Snapshot(), "real", **MEANT), "junk", **junk)
    found = back(snapshot).stored[KEY_A].resource
    assert found == credential("a", "real", **MEANT)
    assert back(back(snapshot)).stored[KEY_A].resource == credential("a", "junk", **junk)


def test_hosts_that_were_taken_from_a_secret_stay_taken() -> None:
    wide = setting(Snapshot(), "one", allowedHosts=["a.example", "b.example"])
    narrowed = setting(wide, "one", allowedHosts=["a.example"])
    found = back(setting(narrowed, "two")).stored[KEY_A].resource
    assert found == credential("a", "one", allowedHosts=["a.example"])


def test_what_the_credential_is_and_whose_stays_as_it_is() -> None:
    snapshot = setting(Snapshot(), "one", "two")
    stored = snapshot.stored[KEY_A]
    metadata = stored.resource.metadata.model_copy(update={"team": "menu", "labels": {"a": "b"}})
    moved = replace(stored, resource=stored.resource.model_copy(update={"metadata": metadata}))
    snapshot = snapshot.with_changes(9, [moved])
    assert back(snapshot).stored[KEY_A].resource.metadata == metadata


def test_a_secret_does_not_come_back_under_upstreams_that_have_gone_elsewhere() -> None:
    snapshot = setting(setting(Snapshot(), "one"), "two", allowedHosts=["127.0.0.1", "10.0.0.1"])
    user = upstream("u", credential_name="a").to_document()
    user["spec"]["url"] = "http://10.0.0.1:9000/v1"
    snapshot = snapshot.with_changes(9, [Stored(parse(user), 9, 9)])
    with pytest.raises(BrokenReferences, match="allowedHosts"):
        back(snapshot)


def test_a_secret_that_was_kept_without_its_hosts_does_not_come_back() -> None:
    snapshot = setting(Snapshot(), "one", "two")
    first, second = of(snapshot, KEY_A)
    record = versions.encode([replace(first, spec=None), second])
    snapshot = snapshot.with_changes(9, records={"versions/a": StoredRecord(record, 9)})
    with pytest.raises(InvalidResource, match="without the hosts"):
        back(snapshot)
