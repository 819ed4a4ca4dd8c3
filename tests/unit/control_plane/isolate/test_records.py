"""`records`: written in parts, each once; what is too large is kept out without end of trying."""

from __future__ import annotations

import pytest

from control_plane.isolate.park import Park
from control_plane.isolate.records import Records
from control_plane.resources import Key
from control_plane.store import Build, Changes, Codec, Kek, Sealer, TooLarge
from tests.support.api import MemoryStore
from tests.support.documents import upstream
from tests.support.isolation import write

pytestmark = pytest.mark.anyio
CODEC = Codec(Sealer(Kek(bytes(32))))
NAMES = [f"u{number}" for number in range(20)]


class Small(MemoryStore):
    """Takes `most` records at once, of `size` bytes together."""

    def __init__(self, most: int = 1000, size: int = 10**9) -> None:
        super().__init__()
        self.most, self.size, self.commits = most, size, 0

    async def commit(self, build: Build) -> int:
        records = build(self.snapshot).records
        self.commits += 1
        if len(records) > self.most or sum(len(v or b"") for v in records.values()) > self.size:
            raise TooLarge("too large")
        return await super().commit(build)


async def stored(store: MemoryStore) -> dict[Key, Park]:
    """Parks of twenty upstreams that are stored."""
    for name in NAMES:
        await write(store, upstream(name).to_document())
    return {
        key: Park(key, {key: each.revision}, "refused", "gateway", {key: each.resource})
        for key, each in store.snapshot.stored.items()
    }


async def test_more_than_etcd_takes_is_written_in_parts() -> None:
    store = Small(most=7)
    parks = await stored(store)
    records = Records(CODEC, store.commit)
    await records.save(lambda: parks, {})
    assert records.read(store.snapshot) == parks
    assert not records.changes(parks, store.snapshot)


async def test_one_that_is_too_large_is_written_without_its_last_good_version() -> None:
    store = Small()
    parks = await stored(store)
    key = Key("upstreams", "u0")
    parks = {key: parks[key]}
    store.size = len(parks[key].encode(CODEC)) - 1
    records = Records(CODEC, store.commit)
    await records.save(lambda: parks, {})
    assert records.read(store.snapshot)[key].closure is None
    assert not records.changes(parks, store.snapshot)


async def test_one_that_is_too_large_even_so_is_given_up() -> None:
    store = Small()
    parks = await stored(store)
    store.size, store.commits = 10, 0
    records = Records(CODEC, store.commit)
    await records.save(lambda: parks, {})
    assert not store.snapshot.records
    assert not records.changes(parks, store.snapshot)
    assert store.commits < 200


async def test_what_is_deleted_or_mended_is_removed() -> None:
    store = Small()
    parks = await stored(store)
    records = Records(CODEC, store.commit)
    await records.save(lambda: parks, {})
    gone, mended = Key("upstreams", "u0"), Key("upstreams", "u1")
    await write(store, upstream("u1").to_document(), delete=["u0"])
    left = {key: park for key, park in parks.items() if key not in (gone, mended)}
    assert records.changes(left, store.snapshot).keys() == {"parked/upstreams/u0"}
    await records.save(lambda: left, {mended: parks[mended]})
    assert records.read(store.snapshot).keys() == left.keys()


async def test_a_record_that_still_stands_is_not_removed() -> None:
    """Another replica has written it anew meanwhile."""
    store = Small()
    parks = await stored(store)
    records = Records(CODEC, store.commit)
    await records.save(lambda: parks, {})
    await records.save(dict, parks)
    assert records.read(store.snapshot) == parks


async def test_what_is_uncertain_or_out_of_date_is_not_written() -> None:
    store = Small()
    key, park = next(iter((await stored(store)).items()))
    records = Records(CODEC, store.commit)
    uncertain = Park(key, park.read, "", certain=False)
    assert not records.changes({key: uncertain}, store.snapshot)
    assert not records.changes({key: Park(key, {key: 0}, "")}, store.snapshot)


async def test_a_record_that_is_none_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Small()
    await write(store, upstream("u").to_document())
    await store.commit(lambda _: Changes(records={"parked/upstreams/u": b"junk"}))
    records = Records(CODEC, store.commit)
    for _ in range(3):
        assert not records.read(store.snapshot)
        await write(store, upstream("u").to_document())
    assert len(caplog.records) == 1
