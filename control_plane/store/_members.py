"""Calls to etcd's members, one by one: their state, their upkeep, and a lock that is leased.

Not for data: that is `_client.py`, whose channels these calls use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Final

import grpc
import grpc.aio
from etcd3aio._protobuf import (
    AlarmRequest,
    CompactionRequest,
    Compare,
    DefragmentRequest,
    KVStub,
    LeaseGrantRequest,
    LeaseKeepAliveRequest,
    LeaseRevokeRequest,
    LeaseStub,
    MaintenanceStub,
    PutRequest,
    RangeRequest,
    RequestOp,
    StatusRequest,
    TxnRequest,
)

from control_plane.store import _wire
from control_plane.store._client import EtcdClient
from control_plane.store._upkeep import Member
from control_plane.store.errors import StoreError, TooLarge

CALL: Final = 5.0  # seconds
LONG: Final = 120.0
"""For compaction and defragmentation, which read and write the whole file."""
_DISARM: Final = 2
_NOSPACE: Final = 1


class Members:
    """The members behind the endpoints of a client. Every call raises `StoreError` if it fails."""

    def __init__(self, client: EtcdClient) -> None:
        self._client = client

    @property
    def endpoints(self) -> Sequence[str]:
        return self._client.endpoints

    async def status(self, endpoint: str) -> Member:
        reply = await self._call(MaintenanceStub, "Status", StatusRequest(), endpoint)
        return Member(
            endpoint,
            reply.header.member_id,
            reply.leader == reply.header.member_id,
            reply.header.revision,
            reply.dbSize,
            reply.dbSizeInUse,
            any("NOSPACE" in error for error in reply.errors),
        )

    async def compact(self, revision: int) -> None:
        """Forget what was overwritten or deleted before `revision`; waits until it is gone."""
        request = CompactionRequest(revision=revision, physical=True)
        with contextlib.suppress(_Compacted):  # by another replica, or by etcd itself
            await self._call(KVStub, "Compact", request, timeout=LONG)

    async def defragment(self, endpoint: str) -> None:
        """Rewrite the file of one member, which answers nobody meanwhile."""
        await self._call(MaintenanceStub, "Defragment", DefragmentRequest(), endpoint, LONG)

    async def disarm(self) -> None:
        """Take writes again."""
        raised = await self._call(MaintenanceStub, "Alarm", AlarmRequest(alarm=_NOSPACE))
        for alarm in raised.alarms:
            if alarm.alarm == _NOSPACE:
                request = AlarmRequest(action=_DISARM, memberID=alarm.memberID, alarm=_NOSPACE)
                await self._call(MaintenanceStub, "Alarm", request)

    async def holder(self, key: bytes) -> bytes | None:
        """Who holds a lock."""
        reply = await self._call(KVStub, "Range", RangeRequest(key=key))
        return next((bytes(kv.value) for kv in reply.kvs), None)

    async def acquire(self, key: bytes, name: bytes, seconds: int) -> int | None:
        """The lease of a lock that is ours now, until it ends or is given up; None: another's."""
        lease = (await self._call(LeaseStub, "LeaseGrant", LeaseGrantRequest(TTL=seconds))).ID
        absent = Compare(target=Compare.VERSION, result=Compare.EQUAL, key=key, version=0)
        put = RequestOp(request_put=PutRequest(key=key, value=name, lease=lease))
        reply = await self._call(KVStub, "Txn", TxnRequest(compare=[absent], success=[put]))
        if reply.succeeded:
            return int(lease)
        await self.give_up(lease)
        return None

    async def prolong(self, lease: int) -> bool:
        """Whether the lease still runs; if so, it does for its whole time again."""
        call = LeaseStub(self._client.channel(self._client.endpoint)).LeaseKeepAlive(timeout=CALL)
        try:
            await call.write(LeaseKeepAliveRequest(ID=lease))
            reply: Any = await call.read()
        except grpc.aio.AioRpcError as error:
            raise _failure(error, self._client.endpoint) from error
        finally:
            call.cancel()
        return reply is not grpc.aio.EOF and reply.TTL > 0

    async def give_up(self, lease: int) -> None:
        await self._call(LeaseStub, "LeaseRevoke", LeaseRevokeRequest(ID=lease))

    async def takes(self, key: bytes, operations: int, padding: int) -> bool:
        """Whether etcd takes a transaction so large. This one reads and writes nothing.

        `key` is one that this process may read, and so it may all that begin with it: etcd looks
        at the rights first.
        """
        padded = key + b"0" * padding
        never = Compare(target=Compare.VERSION, result=Compare.LESS, key=padded, version=0)
        reads = [RequestOp(request_range=RangeRequest(key=key))] * operations
        try:
            await self._call(KVStub, "Txn", TxnRequest(compare=[never], success=reads))
        except TooLarge:
            return False
        return True

    async def _call(
        self, stub: Any, method: str, request: Any, endpoint: str = "", timeout: float = CALL
    ) -> Any:
        endpoint = endpoint or self._client.endpoint
        try:
            return await getattr(stub(self._client.channel(endpoint)), method)(
                request, timeout=timeout
            )
        except grpc.aio.AioRpcError as error:
            raise _failure(error, endpoint) from error


class _Compacted(StoreError):
    """The revision is gone already."""


def _failure(error: grpc.aio.AioRpcError, endpoint: str) -> Exception:
    if error.code() is grpc.StatusCode.OUT_OF_RANGE:
        return _Compacted("compacted already")
    return _wire.failure(error.code(), error.details() or "", endpoint)
