"""The Aggregated Discovery Service on grpc.aio: bytes in, bytes out, no decisions.

One coroutine per stream writes, one task reads. A client that does not read holds up its own writer
and nobody else: what it has yet to be told is state in its subscriptions, not a queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Protocol

import grpc
import grpc.aio

from control_plane.xds.delta import DeltaRequest
from control_plane.xds.errors import BadRequest
from control_plane.xds.messages import read, require_node, write
from control_plane.xds.sotw import SotwRequest
from control_plane.xds.stream import Stream, Variant
from control_plane.xds.subscription import Response

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHODS: dict[str, Variant] = {
    "StreamAggregatedResources": "sotw",
    "DeltaAggregatedResources": "delta",
}
SERVER_OPTIONS = (
    # A partitioned client is noticed, so that nothing is kept or waited for on its behalf.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Clients that ping more often than every 5 minutes are welcome.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A client that comes back names all that it has: 100,000 names and versions are ~6 MB.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
)
"""Options for the `grpc.aio.server` that the hub is registered with."""


class Streams(Protocol):
    """What the hub does for a stream."""

    def join(self, stream: Stream) -> int: ...
    def leave(self, number: int) -> None: ...
    def request(self, number: int, type_url: str, request: SotwRequest | DeltaRequest) -> None: ...
    def next(self, number: int) -> Response | None: ...


def handlers(streams: Streams) -> grpc.GenericRpcHandler:
    """The service. Messages stay bytes for gRPC, so that garbage gets an answer of ours."""
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            method: grpc.stream_stream_rpc_method_handler(partial(_serve, streams, variant))
            for method, variant in METHODS.items()
        },
    )


async def _serve(
    streams: Streams,
    variant: Variant,
    requests: AsyncIterator[bytes],
    context: grpc.aio.ServicerContext[Any, Any],
) -> None:
    """One stream, from its first request to its end."""
    try:
        first = await anext(requests, None)
        if first is None:
            return
        request, wake = read(variant, first), asyncio.Event()
        number = streams.join(Stream(require_node(request), variant, wake.set))
        try:
            streams.request(number, request.type_url, request.body)
            await _converse(streams, variant, number, requests, context, wake)
        finally:
            streams.leave(number)
    except BadRequest as error:
        await context.abort(error.status, str(error))


async def _converse(
    streams: Streams,
    variant: Variant,
    number: int,
    requests: AsyncIterator[bytes],
    context: grpc.aio.ServicerContext[Any, Any],
    wake: asyncio.Event,
) -> None:
    """Reads and writes at the same time; ends when either ends."""
    reading = asyncio.ensure_future(_read(streams, variant, number, requests))
    writing = asyncio.ensure_future(_write(streams, variant, number, context, wake))
    try:
        done, _ = await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (reading, writing):
            task.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)
    for task in done:
        task.result()


async def _read(
    streams: Streams, variant: Variant, number: int, requests: AsyncIterator[bytes]
) -> None:
    async for data in requests:
        request = read(variant, data)
        streams.request(number, request.type_url, request.body)


async def _write(
    streams: Streams,
    variant: Variant,
    number: int,
    context: grpc.aio.ServicerContext[Any, Any],
    wake: asyncio.Event,
) -> None:
    while True:
        wake.clear()
        while (response := streams.next(number)) is not None:
            await context.write(write(variant, response))
        await wake.wait()
