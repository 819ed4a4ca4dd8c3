"""Store, compile loop, xDS hub and warden in one event loop, and a node that refuses what is bad.

What is bad is marked in an upstream's URL (`bad-cluster`, `bad-route`) or a proxy's params
(`bad-plan`). As in the field, the node names a bad cluster or plan, and of routes it names nothing;
of a response that it refuses it keeps what is good.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from control_plane._loop import CompileLoop
from control_plane.compile import CLUSTER, PLAN, ROUTE, TYPES, Compiler, GatewaySettings, Unit
from control_plane.compile.model import XdsResource
from control_plane.isolate import Isolation, Warden
from control_plane.isolate.culprits import Validator
from control_plane.resources import Key, parse
from control_plane.store import Changes, Codec, Kek, Sealer
from control_plane.xds import Hub
from control_plane.xds.delta import DeltaRequest
from control_plane.xds.stream import Node as NodeId
from control_plane.xds.stream import Stream
from control_plane.xds.subscription import Response
from tests.support.api import MemoryStore, document

MARKS = {CLUSTER: b"bad-cluster", ROUTE: b"bad-route", PLAN: b"bad-plan"}
CODEC = Codec(Sealer(Kek(bytes(32))))


def is_bad(xds: XdsResource) -> bool:
    mark = MARKS.get(xds.type_url)
    return mark is not None and mark in xds.body


class Node:
    """One delta stream that asks for everything; `cache` is what it uses."""

    def __init__(self, hub: Hub, name: str = "gateway") -> None:
        self.hub, self.name = hub, name
        self.cache: dict[str, dict[str, XdsResource]] = {type_url: {} for type_url in TYPES}
        self.refused: Counter[tuple[str, str]] = Counter()
        """Offers of what it refuses, by name and version."""
        self.silent = False
        self.words = "it is bad"
        self.dislikes: Callable[[XdsResource], bool] = is_bad
        self.join(hub)

    def join(self, hub: Hub) -> None:
        self.hub = hub
        self._number = hub.join(Stream(NodeId(self.name), "delta", self._wake))
        for type_url, known in self.cache.items():
            initial = {name: xds.version for name, xds in known.items()}
            hub.request(self._number, type_url, DeltaRequest(frozenset("*"), initial=initial))

    def leave(self) -> None:
        self.hub.leave(self._number)
        self._number = 0

    def speak(self) -> None:
        self.silent = False
        self._wake()

    def speak_at_once(self) -> None:
        """In this turn of the event loop."""
        self.silent = False
        self._pump()

    @property
    def routes(self) -> bytes:
        return b"".join(xds.body for xds in self.cache[ROUTE].values())

    def _wake(self) -> None:
        asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        while not self.silent and self._number and (response := self.hub.next(self._number)):
            self._answer(response)

    def _answer(self, response: Response) -> None:
        bad = [xds for xds in response.resources if self.dislikes(xds)]
        cache = self.cache[response.type_url]
        cache.update((xds.name, xds) for xds in response.resources if xds not in bad)
        for name in response.removed:
            cache.pop(name, None)
        self.refused.update((xds.name, xds.version) for xds in bad)
        error = None
        if bad:
            error = f"cannot take {', '.join(xds.name for xds in bad)}: {self.words}"
        answer = DeltaRequest(nonce=response.nonce, error=error)
        self.hub.request(self._number, response.type_url, answer)


class Offline:
    """An Envoy that is asked offline; `asked` counts."""

    def __init__(self) -> None:
        self.asked = 0

    async def accepts(self, units: Iterable[Unit]) -> bool:
        self.asked += 1
        await asyncio.sleep(0)
        return not any(_has_bad(unit) for unit in units)


def _has_bad(unit: Unit) -> bool:
    route = unit.route[1].by_path if unit.route is not None else b""
    clusters = (xds for xds in unit.resources if xds.type_url == CLUSTER)
    return MARKS[ROUTE] in route or any(map(is_bad, clusters))


class World:
    """One control plane on a store; see the module."""

    def __init__(self, store: MemoryStore, validator: Validator | None) -> None:
        self.store = store
        self.hub = Hub(examined=True, linger=0, patience=0.05)
        self.isolation = Isolation(CODEC, store.commit, validator)
        self.loop = CompileLoop(
            lambda: Compiler(GatewaySettings()), self.hub, isolation=self.isolation
        )
        self.warden = Warden(self.hub, self.isolation, self.loop, lambda: store.snapshot)

    @property
    def aside(self) -> set[str]:
        assert self.loop.live is not None
        return set(map(str, self.loop.live.aside))

    @property
    def records(self) -> set[str]:
        return {name.removeprefix("parked/") for name in self.store.snapshot.records}

    def state(self, revision: int | None = None) -> str:
        newest = self.store.snapshot.revision if revision is None else revision
        return self.hub.ledger.status(newest).state

    def is_settled(self) -> bool:
        """All is known, done, written and proven."""
        live, snapshot = self.loop.live, self.store.snapshot
        return (
            live is not None
            and live.revision == snapshot.revision
            and all(why.certain for why in live.aside.values())
            and not self.isolation.unsaved(snapshot)
            and not self.isolation.mended(live, snapshot)
            and self.state() == "applied"
        )

    async def settle(self) -> None:
        await until(self.is_settled, lambda: f"{self.aside} {self.records} {self.state()}")


@asynccontextmanager
async def running(
    store: MemoryStore | None = None, validator: Validator | None = None
) -> AsyncIterator[World]:
    world = World(store or MemoryStore(), validator)
    work = (world.loop.run(world.store.subscribe()), world.warden.run())
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield world
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def until(holds: Callable[[], bool], why: Callable[[], str], seconds: float = 10) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not holds():  # noqa: ASYNC110 - it may come true at many places
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"too late: {why()}") from None


def pair(name: str, bad: str = "", version: int = 0) -> list[dict[str, Any]]:
    """An upstream and a proxy of one name; `bad` is one of the marks."""
    url = f"http://127.0.0.1:9000/v{version}"
    if bad == "bad-cluster":
        url = f"http://bad-cluster-{version}.example/v1"
    if bad == "bad-route":
        url = f"http://127.0.0.1:9000/bad-route/v{version}"
    params = {"user": f"bad-plan {version}"} if bad == "bad-plan" else {}
    use: dict[str, Any] = {"upstreams": [{"name": name}], "params": params}
    return [
        document("Upstream", name, {"dialect": "openai", "url": url}),
        document("Proxy", name, use),
    ]


async def write(store: MemoryStore, *documents: dict[str, Any], delete: Iterable[str] = ()) -> int:
    """One transaction; `delete` names pairs."""
    resources = [parse(each) for each in documents]
    gone = frozenset(
        key
        for name in delete
        for key in (Key("proxies", name), Key("upstreams", name))
        if key in store.snapshot.stored
    )
    return await store.commit(lambda _: Changes({each.key: each for each in resources}, gone))
