"""The versions of a credential: what is kept, what is shown, and what comes back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from control_plane.api import NotFound
from control_plane.api._versions import of, put_back, recorded, shown
from control_plane.resources import Credential
from control_plane.store import Changes, Kek, KeksFromText, Keyring, Snapshot, Stored
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
    snapshot = setting(Snapshot(), "one", "two", by="mina")
    first, second = of(snapshot, KEY_A)
    assert (first.number, second.number) == (1, 2)
    assert (second.created, second.by) == ("2026-01-02T03:04:05Z", "mina")
    assert first.sealed is not None
    assert second.sealed is None
    record = snapshot.records["versions/a"].value
    assert b"one" not in record
    assert b"two" not in record


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


def test_the_rest_of_the_credential_stays_as_it_is() -> None:
    snapshot = setting(setting(Snapshot(), "one"), "two", allowedHosts=["api.openai.com"])
    found = back(snapshot).stored[KEY_A].resource
    assert isinstance(found, Credential)
    assert found.spec.allowedHosts == ("api.openai.com",)
    assert found.spec.secret == SecretStr("one")
