"""Key-encryption keys: the sources they come from, and which one seals."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest

from control_plane.store import (
    Kek,
    KekError,
    KekFile,
    KeksFromText,
    Keyring,
    KeysNotOurs,
    WrongKek,
)

CONTEXT = "credentials/menu-key#secret"
OLD, NEW = Kek(bytes(range(32))), Kek(bytes(range(1, 33)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one key, as the first versions of the product wrote it."""
    path = tmp_path / "kek"
    path.touch(0o600)
    path.write_bytes(base64.b64encode(OLD.key) + b"\n")
    return path


def ids(text: str) -> tuple[str, ...]:
    return tuple(kek.id for kek in KeksFromText(text).load())


def test_a_kek_comes_from_base64_of_either_alphabet() -> None:
    key = b"\xfb\xff" * 16
    for text in (base64.b64encode(key), base64.urlsafe_b64encode(key)):
        assert ids(text.decode()) == (Kek(key).id,)
        assert ids(f"{text.decode()}\n") == (Kek(key).id,)


@pytest.mark.parametrize("between", [",", " ", "\n", " , \n", "\n# the old one\n"])
def test_several_keys_stand_newest_first(between: str) -> None:
    assert ids(f"{NEW.to_base64()}{between}{OLD.to_base64()}") == (NEW.id, OLD.id)


def test_one_key_over_several_lines_is_one_key() -> None:
    text = OLD.to_base64()
    assert ids(f"{text[:20]}\n{text[20:]}\n") == (OLD.id,)


@pytest.mark.parametrize("text", ["", " # nothing\n", "not!base64!at!all", "AAAA"])
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(KekError, match="openssl rand -base64 32") as caught:
        KeksFromText(text).load()
    assert "not!base64" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620])
def test_a_file_that_others_may_use_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(KekError, match="chmod 600"):
        KekFile(path).load()


def test_a_file_that_is_missing_or_no_file_says_what_to_do(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(KekError, match="NARU_KEK_FILE"):
            KekFile(path).load()


def test_a_key_that_is_added_stands_first_and_the_old_one_stays(path: Path) -> None:
    KekFile(path).add(NEW)
    assert [kek.id for kek in KekFile(path).load()] == [NEW.id, OLD.id]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    KekFile(path).drop([OLD.id])
    assert [kek.id for kek in KekFile(path).load()] == [NEW.id]
    assert OLD.to_base64() not in path.read_text()


def test_the_last_key_is_never_taken_away(path: Path) -> None:
    with pytest.raises(KekError, match="no key would be left"):
        KekFile(path).drop([OLD.id])
    assert KekFile(path).load() == (OLD,)


def test_a_file_that_comes_from_elsewhere_is_not_written(path: Path, tmp_path: Path) -> None:
    """A mounted secret is a link into a directory that its provider replaces."""
    link = tmp_path / "mounted"
    link.symlink_to(path)
    with pytest.raises(KeysNotOurs, match="every control plane"):
        KekFile(link).add(NEW)
    assert KekFile(path).load() == (OLD,)


def test_a_variable_is_its_owners_to_change() -> None:
    source = KeksFromText(OLD.to_base64())
    with pytest.raises(KeysNotOurs, match="openssl rand -base64 32"):
        source.add(NEW)
    with pytest.raises(KeysNotOurs, match=OLD.id):
        source.drop([OLD.id])


def test_before_the_first_rotation_the_oldest_key_seals() -> None:
    """So that a newer one can be handed round first."""
    ring = Keyring(KeksFromText(f"{NEW.to_base64()},{OLD.to_base64()}"))
    assert ring.seal("s", CONTEXT)["kek"] == OLD.id
    ring.choose(NEW.id)
    sealed = ring.seal("s", CONTEXT)
    assert sealed["kek"] == ring.primary == NEW.id
    assert ring.unseal(sealed, CONTEXT) == "s"


def test_what_is_sealed_anew_holds_the_same_secret_under_the_other_key() -> None:
    ring = Keyring(KeksFromText(f"{NEW.to_base64()},{OLD.to_base64()}"))
    before = ring.seal("s", CONTEXT)
    ring.choose(NEW.id)
    after = ring.rewrap(before, CONTEXT)
    assert after["kek"] == NEW.id
    assert after["ciphertext"] == before["ciphertext"]
    assert after["dataKey"] != before["dataKey"]
    assert Keyring(KeksFromText(NEW.to_base64())).unseal(after, CONTEXT) == "s"


def test_an_unknown_key_is_looked_for_in_the_file_again(path: Path) -> None:
    ring = Keyring(KekFile(path))
    other = Keyring(KekFile(path))
    other.source.add(NEW)
    other.refresh()
    other.choose(NEW.id)
    sealed = other.seal("s", CONTEXT)
    assert ring.ids == (OLD.id,)
    assert ring.unseal(sealed, CONTEXT) == "s"
    assert list(ring.ids) == [NEW.id, OLD.id]


def test_a_key_that_is_nowhere_is_told_and_nothing_is_sealed_with_another(path: Path) -> None:
    ring = Keyring(KekFile(path))
    ring.choose(NEW.id)
    with pytest.raises(KekError, match=NEW.id):
        ring.seal("s", CONTEXT)
    stranger = Keyring(KeksFromText(NEW.to_base64()))
    with pytest.raises(WrongKek):
        ring.unseal(stranger.seal("s", CONTEXT), CONTEXT)


def test_a_file_that_cannot_be_read_again_changes_nothing(path: Path) -> None:
    ring = Keyring(KekFile(path))
    path.write_text("broken")
    ring.refresh()
    assert ring.ids == (OLD.id,)


def test_derived_keys_belong_to_one_key_and_one_purpose(path: Path) -> None:
    ring = Keyring(KeksFromText(f"{NEW.to_base64()},{OLD.to_base64()}"))
    kek_id, key = ring.derive("snapshot")
    assert kek_id == OLD.id
    ring.choose(NEW.id)
    assert ring.derive("snapshot")[0] == NEW.id
    assert ring.derive("snapshot", OLD.id) == (OLD.id, key)
    assert len({key, ring.derive("snapshot")[1], ring.derive("other", OLD.id)[1]}) == 3


def test_no_repr_shows_a_key(path: Path) -> None:
    ring = Keyring(KekFile(path))
    for shown in (ring, ring.source, KeksFromText(OLD.to_base64()), OLD):
        assert OLD.to_base64() not in repr(shown)
