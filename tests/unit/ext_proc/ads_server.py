"""A delta ADS server for tests: the test says what is sent, and sees what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

METHODS = "envoy.service.discovery.v3.AggregatedDiscoveryService"


def delta(
    type_url: str, nonce: str, resources: Mapping[str, bytes], removed: tuple[str, ...] = ()
) -> DeltaDiscoveryResponse:
    response = DeltaDiscoveryResponse(type_url=type_url, nonce=nonce, removed_resources=removed)
    for name, body in resources.items():
        item = response.resources.add(name=name, version=f"v-{nonce}")
        item.resource.type_url = type_url
        item.resource.value = body
    return response


class AdsServer:
    """`requests`: what clients have sent. `send` goes to the newest stream."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[DeltaDiscoveryRequest] = asyncio.Queue()
        self.streams = 0
        self._to_send: asyncio.Queue[DeltaDiscoveryResponse | None] = asyncio.Queue()

    async def send(self, response: DeltaDiscoveryResponse | None) -> None:
        """None ends the stream."""
        await self._to_send.put(response)

    async def received(self) -> DeltaDiscoveryRequest:
        async with asyncio.timeout(10):
            return await self.requests.get()

    async def handle(self, _requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.streams += 1
        reading = asyncio.create_task(self._read(context))
        try:
            while (response := await self._to_send.get()) is not None:
                await context.write(response)
        finally:
            reading.cancel()

    async def _read(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            await self.requests.put(request)


@asynccontextmanager
async def ads_server(address: str = "127.0.0.1:0") -> AsyncIterator[tuple[AdsServer, str]]:
    """A running server and its address."""
    ads = AdsServer()
    # without: another process may be given a port that is in use
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.stream_stream_rpc_method_handler(
        ads.handle,
        request_deserializer=DeltaDiscoveryRequest.FromString,
        response_serializer=DeltaDiscoveryResponse.SerializeToString,
    )
    methods = {"DeltaAggregatedResources": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(METHODS, methods),))
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield ads, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
