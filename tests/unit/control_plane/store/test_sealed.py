"""What holds sealed values, and how it is sealed anew, without a secret being opened."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from control_plane.store import Kek, KeksFromText, Keyring, _sealed, versions
from control_plane.store._layout import Layout
from control_plane.store._records import Record
from control_plane.store.codec import Codec, written
from control_plane.store.model import Guard
from control_plane.store.versions import Version
from tests.support.documents import KEY_A, credential, secret_of

OLD, NEW = Kek(bytes(range(32))), Kek(bytes(range(1, 33)))
LAYOUT = Layout()


@pytest.fixture
def ring() -> Keyring:
    return Keyring(KeksFromText(f"{NEW.to_base64()} {OLD.to_base64()}"))


def stored(ring: Keyring, name: str = "a", revision: int = 7) -> Record:
    resource = credential(name, f"secret-of-{name}")
    value = Codec(ring).encode(resource)
    return Record(LAYOUT.resource(resource.key), value, 3, revision, 1)


def resealed(ring: Keyring, record: Record, revision: int = 9) -> Record:
    batch = _sealed.batch(LAYOUT, [record], ring.primary, ring.rewrap, 10, 10_000)
    return Record(record.key, batch.puts[record.key], 3, revision, 2)


def test_a_document_that_is_sealed_anew_keeps_its_revision(ring: Keyring) -> None:
    record = stored(ring)
    ring.choose(NEW.id)
    once = resealed(ring, record)
    assert written(record.value) is None
    assert written(once.value) == 7
    ring.choose(OLD.id)
    assert written(resealed(ring, once).value) == 7, "the first one, however often it is done"
    assert secret_of(Codec(ring).decode(KEY_A, once.value)) == "secret-of-a"
    assert b"secret-of-a" not in once.value


def test_text_that_looks_like_a_revision_is_none(ring: Keyring) -> None:
    assert written(b'{"spec": {"annotations": {"written":3}}}') is None
    assert written(b'{"written":"3"}') is None
    assert written(b'not json "written":3') is None


def test_versions_are_sealed_anew_each_in_its_place(ring: Keyring) -> None:
    sealed = ring.seal("was", versions.context("a", 1))
    spec = {"type": "bearer", "allowedHosts": ["a.example"]}
    first = Version(1, "2026-01-01T00:00:00Z", "admin", None, sealed, spec)
    history = (first, Version(2, None, None))
    record = Record(LAYOUT.record("versions/a"), versions.encode(history), 1, 1, 1)
    listing = _sealed.Listing(Guard(), None, (record,))
    assert listing.usage() == {OLD.id: 1}
    ring.choose(NEW.id)
    first, second = versions.decode("a", resealed(ring, record).value)
    assert replace(first, sealed=sealed) == history[0]
    assert first.sealed is not None
    assert first.sealed["kek"] == NEW.id
    assert ring.unseal(first.sealed, versions.context("a", 1)) == "was"
    assert second == history[1]


def test_a_resource_inside_of_a_record_is_sealed_as_in_its_own_place(ring: Keyring) -> None:
    """A proxy that was set aside keeps what its last good version was made of."""
    inner = orjson.Fragment(stored(ring).value)
    value = orjson.dumps({"unit": "proxies/p", "closure": {"credentials/a": inner}})
    record = Record(LAYOUT.record("parked/proxies/p"), value, 1, 1, 1)
    ring.choose(NEW.id)
    content = orjson.loads(resealed(ring, record).value)["closure"]["credentials/a"]
    assert content["spec"]["secret"]["sealed"]["kek"] == NEW.id
    assert secret_of(Codec(ring).decode(KEY_A, orjson.dumps(content))) == "secret-of-a"


def test_a_batch_is_bounded_in_number_and_size(ring: Keyring) -> None:
    records = [stored(ring, f"c{i}") for i in range(5)]
    ring.choose(NEW.id)
    assert len(_sealed.batch(LAYOUT, records, NEW.id, ring.rewrap, 3, 10**6).puts) == 3
    size = len(records[0].value)
    assert len(_sealed.batch(LAYOUT, records, NEW.id, ring.rewrap, 9, 2 * size).puts) == 2
    assert len(_sealed.batch(LAYOUT, records, NEW.id, ring.rewrap, 9, 1).puts) == 1
    assert not _sealed.batch(LAYOUT, records, OLD.id, ring.rewrap, 9, 10**6).puts


def test_what_cannot_be_opened_is_counted_and_passed_over(ring: Keyring) -> None:
    stranger = Keyring(KeksFromText(Kek(bytes(32)).to_base64()))
    broken = orjson.loads(stored(ring, "b").value)
    broken["spec"]["secret"]["sealed"]["dataKey"] = "AAAA"
    records = [
        stored(stranger, "a"),
        Record(LAYOUT.record("versions/b"), b"[7]", 1, 1, 1),
        Record(stored(ring, "b").key, orjson.dumps(broken), 1, 1, 1),
        stored(ring, "c"),
    ]
    ring.choose(NEW.id)
    batch = _sealed.batch(LAYOUT, records, NEW.id, ring.rewrap, 9, 10**6)
    assert list(batch.puts) == [records[3].key]
    assert (batch.values, batch.failed) == (1, 2)
