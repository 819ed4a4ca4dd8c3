"""Clients of the incremental ADS that behave as Envoy does, many in one process.

They ask for clusters, then for the endpoints of each, then for listeners and for routes; they ACK
every response, and after a reconnect they say what they have. They look at names and versions only:
nothing here is a proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2 as pb

from control_plane.compile.model import CLUSTER, ENDPOINT, LISTENER, ROUTE
from control_plane.xds.server import SERVICE

_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a connection each
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class EnvoyLike:
    """One client. `cache` maps name to version, by type; it outlives the connection.

    Attributes:
        received: bytes of all responses, of all connections.
        responses: how many.
    """

    def __init__(self, node: str, port: int) -> None:
        self.node, self._target = node, f"127.0.0.1:{port}"
        self.cache: dict[str, dict[str, str]] = {
            t: {} for t in (CLUSTER, ENDPOINT, LISTENER, ROUTE)
        }
        self.received = self.responses = 0
        self._asked: set[str] = set()
        self._endpoints: set[str] = set()

    async def run(self, routes: str = "routes") -> None:
        """Until it is cancelled; connects anew whenever the stream ends."""
        async with grpc.aio.insecure_channel(self._target, options=_OPTIONS) as channel:
            while True:
                call: Any = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")(
                    wait_for_ready=True
                )
                try:
                    await self._converse(call, routes)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.05)
                finally:
                    call.cancel()

    async def _converse(self, call: Any, routes: str) -> None:
        self._asked, self._endpoints = set(), set()
        await self._ask(call, CLUSTER)
        await self._go_on(call, routes)  # with what an earlier connection brought
        while isinstance(data := await call.read(), bytes):
            self.received += len(data)
            self.responses += 1
            response = pb.DeltaDiscoveryResponse.FromString(data)
            await self._take(call, response)
            await self._go_on(call, routes)

    async def _go_on(self, call: Any, routes: str) -> None:
        """Asks for what may be asked for by now."""
        clusters = self.cache[CLUSTER].keys()
        if clusters != self._endpoints:
            await self._ask_for_endpoints(call)
        if LISTENER not in self._asked and clusters and clusters <= self.cache[ENDPOINT].keys():
            await self._ask(call, LISTENER)
            await self._ask(call, ROUTE, [routes])

    async def _take(self, call: Any, response: pb.DeltaDiscoveryResponse) -> None:
        cache = self.cache[response.type_url]
        cache.update((each.name, each.version) for each in response.resources)
        for name in response.removed_resources:
            cache.pop(name, None)
        ack = pb.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        await call.write(ack.SerializeToString())

    async def _ask_for_endpoints(self, call: Any) -> None:
        clusters = self.cache[CLUSTER].keys()
        added, dropped = clusters - self._endpoints, self._endpoints - clusters
        self._endpoints = set(clusters)
        for name in dropped:
            self.cache[ENDPOINT].pop(name, None)
        await self._ask(call, ENDPOINT, added, dropped)

    async def _ask(self, call: Any, type_url: str, names: Any = (), dropped: Any = ()) -> None:
        message = pb.DeltaDiscoveryRequest(
            type_url=type_url,
            resource_names_subscribe=names,
            resource_names_unsubscribe=dropped,
            initial_resource_versions=self._initial(type_url),
        )
        if not self._asked:
            message.node.id = self.node
        self._asked.add(type_url)
        await call.write(message.SerializeToString())

    def _initial(self, type_url: str) -> Mapping[str, str]:
        return {} if type_url in self._asked else self.cache[type_url]


class Crowd:
    """Many of them, all at once."""

    def __init__(self, count: int, port: int) -> None:
        self.clients = [EnvoyLike(f"envoy-{i}", port) for i in range(count)]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def received(self) -> int:
        return sum(client.received for client in self.clients)

    async def __aenter__(self) -> Crowd:
        self._tasks = [asyncio.create_task(client.run()) for client in self.clients]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
