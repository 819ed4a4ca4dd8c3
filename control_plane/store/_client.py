"""Calls to etcd: pages of a listing, one kind of transaction, the watch stream.

Stubs are `etcd3aio`'s. Its client is left aside, above all its `watch()`, which resumes at the
wrong revision and hangs on a compacted start. So are its retries: sending a transaction again
without knowing what became of the first needs the care that `store.py` takes.

Every call is bounded in time. Each endpoint has its own channel; a call goes to the current
endpoint, and `rotate` moves on to the next after a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
from etcd3aio._protobuf import (
    KVStub,
    LeaseGrantRequest,
    LeaseKeepAliveRequest,
    LeaseStub,
    WatchStub,
)

from control_plane.store import _wire
from control_plane.store._access import EtcdAccess, SignedChannel, explained
from control_plane.store._records import Page, Record, WatchMessage
from control_plane.store.errors import StoreUnavailable

OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),  # a catch-up may be one message of any size
    ("grpc.max_send_message_length", -1),  # the limit on writes is ours, see `store.py`
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)
_PROBE: Final = 1.0
_NEED_LEADER: Final = (("hasleader", "true"),)
"""Ends a watch on a member that lost its cluster, where it would stay silent for ever."""


class ListExpired(StoreUnavailable):
    """The revision of a listing was compacted between two pages: begin again."""

    def __init__(self) -> None:
        super().__init__("etcd forgot its history while it was being read: try again")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transaction answered: its revision if it was applied, else the guard that it met."""

    applied: bool
    revision: int
    guard: Record | None


class EtcdClient:
    """Talks to one cluster, in one event loop.

    An endpoint is `host:port`, with or without `http://`; `access` says whether TLS is spoken.
    """

    def __init__(self, endpoints: Sequence[str], access: EtcdAccess | None = None) -> None:
        if not endpoints:
            raise ValueError("no etcd endpoint is given: set NARU_ETCD_ENDPOINTS to host:port")
        self._endpoints = tuple(_target(endpoint) for endpoint in endpoints)
        self._access = access or EtcdAccess()
        self._files = self._access.age()
        self._channels: dict[str, Any] = {}
        self._current = 0

    @property
    def endpoint(self) -> str:
        """The endpoint that the next call goes to."""
        return self._endpoints[self._current]

    @property
    def endpoints(self) -> Sequence[str]:
        """All of them."""
        return self._endpoints

    def rotate(self, failed: str) -> None:
        """Leaves the endpoint that failed, unless another call has done so already."""
        if self._files != (age := self._access.age()):
            self._files = age  # new certificates: the next calls open channels with them
            self._channels.clear()
        if failed == self.endpoint:
            self._current = (self._current + 1) % len(self._endpoints)

    async def ready(self, timeout: float) -> None:
        """Sees to a connection to the current endpoint. If it raises, nothing was sent."""
        endpoint, channel = self.endpoint, self._channel()
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        while (state := channel.get_state(try_to_connect=True)) is not _READY:
            if state is _FAILED:
                raise await self._why_not(channel, endpoint)
            change = channel.wait_for_state_change(state)
            await _within(deadline - clock(), change, endpoint)
        if isinstance(channel, SignedChannel):
            await _within(deadline - clock(), channel.signed(), endpoint)

    async def page(
        self, start: bytes, end: bytes, revision: int, limit: int, timeout: float
    ) -> Page:
        """At most `limit` keys of [start, end) at `revision` (0: the newest).

        Raises `ListExpired` if etcd does not have that revision any more.
        """
        endpoint, request = self.endpoint, _wire.range_request(start, end, revision, limit)
        try:
            reply = await KVStub(self._channel()).Range(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.OUT_OF_RANGE:
                raise ListExpired from error
            raise _failure(error, endpoint) from error
        records = tuple(_wire.record(kv) for kv in reply.kvs)
        header = reply.header
        return Page(header.cluster_id, revision or header.revision, records, reply.more)

    async def commit(self, transaction: _wire.Transaction, timeout: float) -> Outcome:
        """Sends a transaction, once.

        Raises `Refused` or `TooLarge` if etcd said that it does not do it; with any other
        `StoreUnavailable` the transaction may have been applied.
        """
        endpoint = self.endpoint
        try:
            reply = await KVStub(self._channel()).Txn(transaction.request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise _failure(error, endpoint) from error
        met = () if reply.succeeded else reply.responses[0].response_range.kvs
        guard = next((_wire.record(kv) for kv in met), None)
        return Outcome(reply.succeeded, reply.header.revision, guard)

    async def send(self, request: Any, timeout: float) -> None:
        """Sends a transaction that is harmless if it is applied twice, or not at all."""
        endpoint = self.endpoint
        try:
            await KVStub(self._channel()).Txn(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise _failure(error, endpoint) from error

    async def grant(self, ttl: int, timeout: float) -> int:
        """A new lease, of `ttl` seconds."""
        endpoint = self.endpoint
        try:
            reply = await LeaseStub(self._channel()).LeaseGrant(
                LeaseGrantRequest(TTL=ttl), timeout=timeout
            )
        except grpc.aio.AioRpcError as error:
            raise _failure(error, endpoint) from error
        return int(reply.ID)

    async def keep_alive(self, lease: int, timeout: float) -> bool:
        """Renews a lease; whether it was there still."""
        endpoint = self.endpoint
        call = LeaseStub(self._channel()).LeaseKeepAlive(timeout=timeout)
        try:
            await call.write(LeaseKeepAliveRequest(ID=lease))
            reply = await call.read()
        except grpc.aio.AioRpcError as error:
            raise _failure(error, endpoint) from error
        except asyncio.InvalidStateError as error:  # grpcio: the stream ended under a write
            raise StoreUnavailable(f"etcd at {endpoint} ended the lease's stream") from error
        finally:
            call.cancel()
        return reply is not grpc.aio.EOF and reply.TTL > 0

    async def watch(
        self, start: bytes, end: bytes, revision: int, silence: float
    ) -> AsyncGenerator[WatchMessage, None]:
        """Everything that happens in [start, end) from `revision` on.

        After `silence` seconds without a message etcd is probed; after as many again without an
        answer it is given up. Never ends but by raising `StoreUnavailable`.
        """
        endpoint, channel = self.endpoint, self._channel()
        call = WatchStub(channel).Watch(metadata=_NEED_LEADER)
        read: asyncio.Future[Any] | None = None
        try:
            await _within(silence, call.write(_wire.watch_request(start, end, revision)), endpoint)
            while True:
                read = asyncio.ensure_future(call.read())
                if not await _arrives(read, silence):
                    await _within(silence, call.write(_wire.probe_request()), endpoint)
                    if not await _arrives(read, silence):
                        raise _silent(endpoint, 2 * silence)
                if (response := read.result()) is grpc.aio.EOF:
                    raise StoreUnavailable(f"etcd at {endpoint} ended the watch")
                yield _wire.watch_message(response)
        except grpc.aio.AioRpcError as error:
            raise _failure(error, endpoint) from error
        except asyncio.InvalidStateError as error:  # grpcio: the stream ended under a write
            raise StoreUnavailable(f"etcd at {endpoint} ended the watch") from error
        finally:
            call.cancel()
            if isinstance(channel, SignedChannel):
                channel.forget()  # it may be why the watch has ended
            await _drop(read)

    def stub(self, kind: Callable[[grpc.aio.Channel], Any]) -> Any:
        """Another of etcd's services, at the current endpoint."""
        return kind(self._channel())

    async def close(self) -> None:
        """Closes every channel; calls under way fail."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()

    def _channel(self) -> Any:
        return self.channel(self.endpoint)

    def channel(self, endpoint: str) -> Any:
        """The channel to one endpoint."""
        if endpoint not in self._channels:
            channel = _open(endpoint, self._access.credentials())
            signs = self._access.user is not None
            signed = SignedChannel(channel, self._access, endpoint) if signs else channel
            self._channels[endpoint] = signed
        return self._channels[endpoint]

    async def _why_not(self, channel: Any, endpoint: str) -> StoreUnavailable:
        """Why there is no connection; of a handshake only a call tells."""
        bare = channel.bare if isinstance(channel, SignedChannel) else channel
        try:
            probe: Any = bare.unary_unary("/etcdserverpb.Maintenance/Status")
            await probe(b"", timeout=_PROBE)
        except grpc.aio.AioRpcError as error:
            said = explained(error.details() or "", tls=self._access.tls)
        else:
            said = None
        return StoreUnavailable(f"etcd at {endpoint} cannot be reached: {said or 'is it running?'}")


_READY: Final = grpc.ChannelConnectivity.READY
_FAILED: Final = grpc.ChannelConnectivity.TRANSIENT_FAILURE


def _open(endpoint: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(endpoint, options=OPTIONS)
    return grpc.aio.secure_channel(endpoint, credentials, options=OPTIONS)


def _target(endpoint: str) -> str:
    """`host:port` out of an endpoint; grpcio resolves the name and knows IPv6 in brackets."""
    target = endpoint.strip().removeprefix("http://").removeprefix("https://").rstrip("/")
    if not target or ":" not in target:
        raise ValueError(f"not an etcd endpoint: {endpoint!r}; write host:port")
    return target


async def _arrives(read: asyncio.Future[Any], timeout: float) -> bool:
    """Whether something was read in time. Never cancels: that would end the whole stream."""
    done, _ = await asyncio.wait({read}, timeout=timeout)
    return bool(done)


async def _within(timeout: float, what: Awaitable[None], endpoint: str) -> None:
    try:
        async with asyncio.timeout(timeout):
            await what
    except TimeoutError as error:
        raise _silent(endpoint, timeout) from error


async def _drop(read: asyncio.Future[Any] | None) -> None:
    """Ends a read whose result nobody wants."""
    if read is not None:
        read.cancel()
        with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
            await read


def _silent(endpoint: str, seconds: float) -> StoreUnavailable:
    return StoreUnavailable(f"etcd at {endpoint} has not answered for {seconds:.1f} s")


def _failure(error: grpc.aio.AioRpcError, endpoint: str) -> Exception:
    return _wire.failure(error.code(), error.details() or "", endpoint)
