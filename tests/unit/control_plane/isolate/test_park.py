"""`park`: what a record holds, and when it speaks of what is stored."""

from __future__ import annotations

import contextlib
import dataclasses

import orjson
import pytest

from control_plane.isolate.park import Park, decode
from control_plane.resources import Key
from control_plane.store import Codec, Kek, Sealer, Snapshot, Stored
from tests.support.documents import credential, upstream

CODEC = Codec(Sealer(Kek(bytes(32))))
UNIT = Key("upstreams", "u")
CLOSURE = {r.key: r for r in (upstream("u", "a"), credential("a", "canary-secret"))}
PARK = Park(UNIT, {UNIT: 5, Key("credentials", "a"): 3}, "gateway refused it", "gateway", CLOSURE)
SNAPSHOT = Snapshot().with_changes(
    5, [Stored(CLOSURE[UNIT], 1, 5), Stored(CLOSURE[Key("credentials", "a")], 1, 3)]
)


def test_it_comes_back_from_etcd_and_its_secret_is_sealed_there() -> None:
    data = PARK.encode(CODEC)
    assert b"canary-secret" not in data
    assert "canary-secret" not in repr(PARK)
    assert decode(data, CODEC) == PARK
    bare = dataclasses.replace(PARK, read=None, closure=None, spent=True)
    assert decode(bare.encode(CODEC), CODEC) == bare


def test_with_another_key_the_last_good_version_is_lost_and_the_rest_is_not() -> None:
    other = Codec(Sealer(Kek(bytes(range(32)))))
    assert decode(PARK.encode(CODEC), other) == dataclasses.replace(PARK, closure=None)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b"\xff", b'{"unit": 1}'])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not of a resource|line 1"):
        decode(data, CODEC)


@pytest.mark.parametrize("field", ["unit", "read", "node", "reason", "closure", "spent"])
def test_a_record_with_a_field_of_another_type_is_refused_or_read(field: str) -> None:
    document = orjson.loads(PARK.encode(CODEC)) | {field: {"a": {"b": 1}}}
    with contextlib.suppress(ValueError):
        decode(orjson.dumps(document), CODEC)


def test_it_stands_until_something_that_was_read_changes() -> None:
    assert PARK.stands(SNAPSHOT, SNAPSHOT.resources)
    rotated = SNAPSHOT.with_changes(6, [Stored(credential("a", "rotated"), 1, 6)])
    assert not PARK.stands(rotated, rotated.resources)
    tried = {**SNAPSHOT.resources, UNIT: upstream("u", "a")}
    assert not PARK.stands(SNAPSHOT, tried), "another object is another version"
    gone = SNAPSHOT.with_changes(6, deletes=[Key("credentials", "a")])
    assert not PARK.stands(gone, gone.resources)
    assert not dataclasses.replace(PARK, read=None).stands(SNAPSHOT, SNAPSHOT.resources)
    assert PARK.hold(SNAPSHOT, SNAPSHOT.resources).since == 5


def test_which_of_two_is_worth_writing() -> None:
    bare, spent = (
        dataclasses.replace(PARK, closure=None),
        dataclasses.replace(PARK, closure=None, spent=True),
    )
    newer = dataclasses.replace(PARK, read={UNIT: 6})
    assert not PARK.says_no_more_than(None)
    assert PARK.says_no_more_than(PARK)
    assert bare.says_no_more_than(PARK), "another replica knows the last good version"
    assert not PARK.says_no_more_than(bare)
    assert not spent.says_no_more_than(PARK)
    assert PARK.says_no_more_than(spent), "it was refused, and must not come back"
    assert not newer.says_no_more_than(PARK)
