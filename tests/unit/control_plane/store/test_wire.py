"""gRPC messages ↔ plain values."""

from __future__ import annotations

import grpc
import pytest
from etcd3aio._protobuf import WatchResponse

from control_plane.store import StoreUnavailable, TooLarge, _wire
from control_plane.store._records import (
    Alive,
    Compacted,
    Created,
    Deleted,
    Events,
    Progress,
    Record,
)


def test_a_transaction_compares_the_guards_mod_revision() -> None:
    made = _wire.transaction(b"guard", 7, {b"a": b"1", b"guard": b"id"}, [b"b"])
    (compare,) = made.request.compare
    assert (compare.key, compare.mod_revision) == (b"guard", 7)
    assert compare.target == compare.MOD
    assert compare.result == compare.EQUAL
    assert made.operations == len(made.request.success) == 3
    assert made.request.failure[0].request_range.key == b"guard"


def test_its_size_counts_more_than_its_content() -> None:
    made = _wire.transaction(b"guard", 0, {b"a": b"x" * 1000}, [])
    assert 1000 + 512 < made.size < 1000 + 700


def test_a_watch_is_never_in_fragments_and_wants_progress() -> None:
    create = _wire.watch_request(b"/a/", b"/a0", 5).create_request
    assert (create.key, create.range_end, create.start_revision) == (b"/a/", b"/a0", 5)
    assert create.progress_notify
    assert not create.fragment
    assert _wire.probe_request().WhichOneof("request_union") == "progress_request"


def test_every_kind_of_watch_message() -> None:
    header = {"cluster_id": 3, "revision": 9}
    kv = {"key": b"k", "value": b"v", "create_revision": 4, "mod_revision": 8, "version": 2}
    deleted = {"type": 1, "kv": {"key": b"d", "mod_revision": 8}}

    def read(**fields: object) -> object:
        return _wire.watch_message(WatchResponse(header=header, **fields))

    assert read(created=True) == Created(3, 9)
    assert read(events=[{"kv": kv}, deleted], fragment=True) == Events(
        (Record(b"k", b"v", 4, 8, 2), Deleted(b"d", 8)), fragment=True
    )
    assert read() == Progress(9)
    assert read(watch_id=-1) == Alive()
    assert read(canceled=True, compact_revision=6) == Compacted(6)
    with pytest.raises(StoreUnavailable, match="permission denied"):
        read(created=True, canceled=True, cancel_reason="permission denied")


def test_a_value_is_not_in_a_repr() -> None:
    assert "canary" not in repr(Record(b"k", b"canary", 1, 1, 1))


@pytest.mark.parametrize(
    ("code", "details", "kind", "says"),
    [
        ("INVALID_ARGUMENT", "etcdserver: request is too large", TooLarge, "fewer"),
        ("INVALID_ARGUMENT", "etcdserver: too many operations in txn request", TooLarge, "fewer"),
        ("RESOURCE_EXHAUSTED", "grpc: received message larger than max", TooLarge, "fewer"),
        ("INVALID_ARGUMENT", "etcdserver: duplicate key given", _wire.Refused, "duplicate"),
        (
            "RESOURCE_EXHAUSTED",
            "etcdserver: mvcc: database space exceeded",
            _wire.StoreFull,
            "full",
        ),
        ("PERMISSION_DENIED", "etcdserver: permission denied", _wire.Refused, "rights"),
        ("UNKNOWN", "auth: permission denied", _wire.Refused, "rights"),  # of maintenance
        ("UNAUTHENTICATED", "etcdserver: invalid auth token", _wire.Refused, "rights"),
        ("DEADLINE_EXCEEDED", "", StoreUnavailable, "in time"),
        ("UNAVAILABLE", "etcdserver: no leader", StoreUnavailable, "no leader"),
        ("UNKNOWN", "", StoreUnavailable, "UNKNOWN"),
    ],
)
def test_a_failure_says_whether_anything_was_written(
    code: str, details: str, kind: type[Exception], says: str
) -> None:
    error = _wire.failure(getattr(grpc.StatusCode, code), details, "127.0.0.1:1")
    assert type(error) is kind
    assert says in str(error)
    assert "127.0.0.1:1" in str(error)
