"""The connection to the control plane: `ads.DeltaClient` on grpc.aio, for as long as it takes.

While the control plane is away, the worker goes on with what it has.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import grpc
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

log = logging.getLogger(__name__)

FIRST_DELAY: Final = 0.05
LAST_DELAY: Final = 1.0
"""Seconds between attempts: doubled from the first to the last, at random up to a half less."""
_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", -1),  # the control plane is trusted; a first set is large
    ("grpc.use_local_subchannel_pool", 1),  # every attempt dials anew, without gRPC's own back-off
)


class Client(Protocol):
    """What is connected: `ads.DeltaClient`, or whoever else speaks the delta protocol."""

    def connected(self) -> list[DeltaDiscoveryRequest]: ...

    def receive(self, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest: ...


async def run(
    address: str,
    client: Client,
    *,
    on_response: Callable[[], None] = lambda: None,
    on_end: Callable[[], None] = lambda: None,
    fallback: Callable[[], Awaitable[None]] | None = None,
    silence: float = 5.0,
) -> None:
    """Keep `client` connected to `address` until cancelled.

    `on_response` is called after each response has been handled and answered, `on_end` after each
    attempt that has come to its end, whether it came to anything or not. `fallback` is awaited
    once, between two attempts, if the first came to nothing: the control plane cannot be reached,
    or has said nothing for `silence` seconds. Once it has answered, it is never called.
    """
    delay = FIRST_DELAY
    while True:
        patience = None if fallback is None else silence
        answered = await _connect(address, client, on_response, patience)
        on_end()
        _insist_on_cancellation()
        if fallback is not None and not answered:
            await fallback()
        fallback = None
        delay = FIRST_DELAY if answered else min(delay * 2, LAST_DELAY)
        await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - jitter, no secret


def _insist_on_cancellation() -> None:
    """grpc.aio swallows a cancellation that comes while a call is being prepared: the task that
    prepares it takes it for its own, and ends as if nothing had happened."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _connect(
    address: str, client: Client, on_response: Callable[[], None], patience: float | None
) -> bool:
    """One connection, to its end; whether the control plane answered at all.

    It gets `patience` seconds for its first word; as long as it takes if that is None.
    """
    answered = False
    try:
        async with (
            asyncio.timeout(patience) as first_word,
            grpc.aio.insecure_channel(address, options=_OPTIONS) as channel,
        ):
            call = AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
            for request in client.connected():
                await call.write(request)
            async for response in call:
                answered = True
                first_word.reschedule(None)
                request = client.receive(response)
                if request.HasField("error_detail"):
                    log.error("refused: %s", request.error_detail.message)
                await call.write(request)
                on_response()
            log.info("the control plane ended the stream")
    except grpc.aio.AioRpcError as error:
        log.warning("no control plane at %s: %s", address, error.code().name)
    except TimeoutError:
        log.warning("the control plane at %s says nothing", address)
    except asyncio.InvalidStateError:  # written to a call that had just ended
        log.warning("the control plane ended the stream")
    return answered
