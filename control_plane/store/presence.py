"""Which control planes run now, and which keys each of them has: leased keys in etcd.

A replica says what it can open before anybody seals with it. Its key goes with it: at once when it
stops, within `TTL` seconds when it dies or loses etcd.

Specification: https://etcd.io/docs/v3.5/learning/api/#lease-api
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
import orjson
from etcd3aio._protobuf import (
    KVStub,
    LeaseGrantRequest,
    LeaseKeepAliveRequest,
    LeaseRevokeRequest,
    LeaseStub,
    PutRequest,
)

from control_plane.store import _wire
from control_plane.store._client import EtcdClient
from control_plane.store._layout import Layout
from control_plane.store.errors import StoreError, StoreUnavailable

log = logging.getLogger(__name__)

TTL: Final = 15
TICK: Final = 3.0
_CALL: Final = 2.0
_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Replica:
    """What a control plane says of itself.

    Attributes:
        keys: ids of the key-encryption keys that it can open.
        uses: ids of those that its own files are sealed with.
    """

    keys: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()


class Presence:
    """This replica's key, and the others'.

    `describe` is asked again and again; while it fails with an OSError, its last answer holds.
    """

    def __init__(self, client: EtcdClient, layout: Layout, describe: Callable[[], Replica]) -> None:
        self.id = f"{socket.gethostname()[:40]}-{secrets.token_hex(3)}"
        self._client = client
        self._layout = layout
        self._describe = describe
        self._lease = 0
        self._said: Replica | None = None
        self._own: Replica | None = None
        self._trouble = ""
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Be there until cancelled; every failure of etcd is survived."""
        try:
            while True:
                with contextlib.suppress(StoreError, grpc.aio.AioRpcError):
                    await self.announce()
                await asyncio.sleep(TICK)
        finally:
            with contextlib.suppress(Exception):  # the lease ends by itself, too
                async with asyncio.timeout(_CALL / 4):
                    await self._revoke()

    async def announce(self) -> None:
        """Say now what this replica has; raises StoreError."""
        async with self._turn:
            replica = self._mine()
            try:
                if self._lease and not await self._kept():
                    self._lease = 0
                if not self._lease or replica != self._said:
                    await self._say(replica)
            except grpc.aio.AioRpcError as error:
                self._lease = 0
                details = error.details() or ""
                raise _wire.failure(error.code(), details, self._client.endpoint) from error

    async def replicas(self) -> Mapping[str, Replica]:
        """Every replica by its id, this one among them; raises StoreError."""
        start = self._layout.replicas
        page = await self._client.page(start, start[:-1] + b"0", 0, _MOST, _CALL)
        found = {
            record.key.removeprefix(start).decode("utf-8", "replace"): _replica(record.value)
            for record in page.records
        }
        return found | {self.id: self._mine()}

    def _mine(self) -> Replica:
        """This one. To say nothing is better than to say that it uses no key."""
        try:
            self._own, self._trouble = self._describe(), ""
        except OSError as error:
            trouble = error.strerror or type(error).__qualname__
            if trouble != self._trouble:
                log.error("which keys this replica's files are sealed with: %s", trouble)
            self._trouble = trouble
            if self._own is None:
                text = f"this replica's files cannot be read: {trouble}"
                raise StoreUnavailable(text) from error
        return self._own

    async def _say(self, replica: Replica) -> None:
        if not self._lease:
            lease = self._client.stub(LeaseStub)
            granted = await lease.LeaseGrant(LeaseGrantRequest(TTL=TTL), timeout=_CALL)
            self._lease = granted.ID
        value = orjson.dumps({"keys": sorted(replica.keys), "uses": sorted(replica.uses)})
        key = self._layout.replicas + self.id.encode()
        request = PutRequest(key=key, value=value, lease=self._lease)
        await self._client.stub(KVStub).Put(request, timeout=_CALL)
        self._said = replica

    async def _kept(self) -> bool:
        """Whether the lease goes on."""
        call = self._client.stub(LeaseStub).LeaseKeepAlive(timeout=_CALL)
        try:
            await call.write(LeaseKeepAliveRequest(ID=self._lease))
            answer = await call.read()
            return answer is not grpc.aio.EOF and answer.TTL > 0
        except asyncio.InvalidStateError:  # grpcio: the stream ended under the write
            return False
        finally:
            call.cancel()

    async def _revoke(self) -> None:
        if self._lease:
            await self._client.stub(LeaseStub).LeaseRevoke(LeaseRevokeRequest(ID=self._lease))


def _replica(value: bytes) -> Replica:
    try:
        found: dict[str, Any] = orjson.loads(value)
        return Replica(frozenset(found["keys"]), frozenset(found["uses"]))
    except (ValueError, TypeError, LookupError):
        return Replica()
