"""gRPC messages of etcd ↔ plain values: requests out, records and errors in. Pure.

Messages are `etcd3aio`'s (it has no public names for those of the watch, hence `_protobuf`).
Specification: https://etcd.io/docs/v3.5/dev-guide/api_reference_v3/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from etcd3aio._protobuf import (
    Compare,
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    TxnRequest,
    WatchRequest,
)

from control_plane.store._records import (
    Alive,
    Compacted,
    Created,
    Deleted,
    Events,
    Progress,
    Record,
    WatchMessage,
)
from control_plane.store.errors import StoreUnavailable, TooLarge

_DELETE: Final = 1
_BROADCAST: Final = -1
"""The watch id of an answer to a probe."""
_DENIED: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_REQUEST_OVERHEAD: Final = 512
"""etcd measures a request with its own raft header around it; this is more than that takes."""


_TOO_LARGE: Final = ("too large", "too many", "larger than max")
"""What etcd says of the request (the first two), and its gRPC server of the message."""


class Refused(StoreUnavailable):
    """etcd answered, and said no: nothing was written, and asking again would not help."""


class StoreFull(Refused):
    """etcd is above its quota and takes no write; see `_maintenance.py`."""

    code = "store_full"


@dataclass(frozen=True, slots=True)
class Transaction:
    """A compare of the guard and what is written if it holds."""

    request: Any
    operations: int

    @property
    def size(self) -> int:
        """Bytes, as etcd's `--max-request-bytes` counts them, rounded up."""
        return int(self.request.ByteSize()) + _REQUEST_OVERHEAD


def transaction(
    guard: bytes, revision: int, puts: Mapping[bytes, bytes], deletes: Sequence[bytes]
) -> Transaction:
    """All of it if the guard is still at `revision` (0: never written); else the guard is read."""
    compare = Compare(target=Compare.MOD, result=Compare.EQUAL, key=guard, mod_revision=revision)
    success = [RequestOp(request_delete_range=DeleteRangeRequest(key=key)) for key in deletes]
    success += [
        RequestOp(request_put=PutRequest(key=key, value=value)) for key, value in puts.items()
    ]
    failure = [RequestOp(request_range=RangeRequest(key=guard))]
    request = TxnRequest(compare=[compare], success=success, failure=failure)
    return Transaction(request, len(success))


def leased_puts(puts: Mapping[bytes, bytes], lease: int) -> Any:
    """Puts without a condition, each gone when the lease is."""
    put = (PutRequest(key=key, value=value, lease=lease) for key, value in puts.items())
    return TxnRequest(success=[RequestOp(request_put=each) for each in put])


def leased_delete(key: bytes, lease: int) -> Any:
    """Deletes a key if it is still under that lease."""
    compare = Compare(target=Compare.LEASE, result=Compare.EQUAL, key=key, lease=lease)
    delete = RequestOp(request_delete_range=DeleteRangeRequest(key=key))
    return TxnRequest(compare=[compare], success=[delete])


def range_request(start: bytes, end: bytes, revision: int, limit: int) -> Any:
    """At most `limit` keys of [start, end) at `revision` (0: the newest)."""
    return RangeRequest(key=start, range_end=end, revision=revision, limit=limit)


def watch_request(start: bytes, end: bytes, revision: int) -> Any:
    """Everything in [start, end) from `revision` on; never in fragments."""
    request = WatchRequest()
    create = request.create_request
    create.key, create.range_end, create.start_revision = start, end, revision
    create.progress_notify = True
    return request


def probe_request() -> Any:
    """Asks a watch stream for a sign of life."""
    request = WatchRequest()
    request.progress_request.SetInParent()
    return request


def record(kv: Any) -> Record:
    return Record(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version)


def watch_message(response: Any) -> WatchMessage:
    """Raises `StoreUnavailable` for a watch that etcd ended."""
    if response.compact_revision:
        return Compacted(response.compact_revision)
    if response.canceled:
        reason = response.cancel_reason or "it gives no reason"
        raise StoreUnavailable(f"etcd ended the watch: {reason}")
    if response.created:
        return Created(response.header.cluster_id, response.header.revision)
    if response.events:
        return Events(tuple(_event(each) for each in response.events), response.fragment)
    if response.watch_id == _BROADCAST:
        return Alive()
    return Progress(response.header.revision)


def failure(code: grpc.StatusCode, details: str, endpoint: str) -> StoreUnavailable | TooLarge:
    """The error of a failed call, fit to be shown."""
    where = f"etcd at {endpoint}"
    denied = "auth: permission denied" in details  # some calls say it without a code of its own
    match code:
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.RESOURCE_EXHAUSTED if any(
            words in details for words in _TOO_LARGE
        ):
            return TooLarge(
                f"{where} takes less in one transaction than this process was told ({details}): "
                "apply fewer documents at once, or start etcd with larger --max-txn-ops and "
                "--max-request-bytes"
            )
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "space exceeded" in details:
            return StoreFull(
                f"{where} is full: nothing was written, and everything else goes on. Old history "
                "is being removed; if this stays, raise its --quota-backend-bytes"
            )
        case _ if denied or code in _DENIED:
            return Refused(
                f"{where} refuses this process ({details}): check NARU_ETCD_USER and the rights "
                "that its roles have"
            )
        case grpc.StatusCode.INVALID_ARGUMENT if "user name is empty" in details:
            return Refused(f"{where} wants a user: set NARU_ETCD_USER and NARU_ETCD_PASSWORD_FILE")
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION:
            return Refused(f"{where} refuses the request: {details}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return StoreUnavailable(f"{where} does not answer in time")
        case _:
            return StoreUnavailable(f"{where} fails: {details or code.name}")


def _event(event: Any) -> Record | Deleted:
    if event.type == _DELETE:
        return Deleted(event.kv.key, event.kv.mod_revision)
    return record(event.kv)
