"""What does the xDS server cost with many Envoys, and how long until all of them have a change?

The clients are simulated in a process of their own (`tests/support/xds_clients.py`): incremental
ADS, in Envoy's order, an ACK each. The server is the real hub on a real port. Four moments: all
start at once; one route changes, again and again; one cluster changes; the server goes and comes
back, and all of them with it.

    python -m bench.xds_clients [--clients 500] [--proxies 1000] [--changes 20] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import resource
import statistics
import sys
import time
from collections.abc import Iterable
from typing import Any

import grpc.aio
import psutil

from control_plane.compile.model import XdsResource
from control_plane.xds import SERVER_OPTIONS, Hub
from tests.e2e.xds import _world as world
from tests.support.xds_clients import Crowd

_LONG = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--proxies", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--crowd-of", type=int, help=argparse.SUPPRESS)  # the child's port
    chosen = parser.parse_args()
    if chosen.crowd_of:
        asyncio.run(crowd(chosen.clients, chosen.crowd_of))
        return
    profile = cProfile.Profile() if chosen.profile else None
    if profile:
        profile.enable()
    result = asyncio.run(Bench(chosen.clients, chosen.proxies).run(chosen.changes))
    if profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    print(json.dumps(result, indent=2))


async def crowd(clients: int, port: int) -> None:
    """The child: answers each line of its input with what it has received so far."""
    async with Crowd(clients, port) as them:
        while await asyncio.to_thread(sys.stdin.readline):
            print(them.received, flush=True)


def proxies(count: int, edit: int = 0) -> Iterable[XdsResource]:
    """A cluster and its endpoints each, and one table of routes; `edit` changes one route."""
    names = [f"cluster-{i}" for i in range(count)]
    yield world.listener()
    yield world.routes({f"/{name}": name for name in names}, {"/edit": str(edit)})
    for name in names:
        yield world.cluster(name)
        yield world.endpoints(name, [9000])


class Bench:
    """The server, in this process, and the crowd's process."""

    def __init__(self, clients: int, proxies: int) -> None:
        self._clients, self._proxies = clients, proxies
        self._hub = Hub(patience=_LONG)
        self._port = 0

    async def run(self, changes: int) -> dict[str, Any]:
        result: dict[str, Any] = {"clients": self._clients, "proxies": self._proxies}
        server = await self._listen()
        self._hub.set_target(world.compiled(1, *proxies(self._proxies)))
        idle = _rss()
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.xds_clients", "--clients", str(self._clients)),
            *("--crowd-of", str(self._port)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "GRPC_VERBOSITY": "NONE"},  # each tells that the server has gone
        )
        try:
            result["cold start"] = await self._measured(child, self._everybody(1))
            result["cold start"]["MiB per client"] = (_rss() - idle) / self._clients / 2**20
            result["one route"] = await self._changes(child, changes)
            await server.stop(None)
            self._hub = Hub(patience=_LONG)
            self._hub.set_target(world.compiled(99, *proxies(self._proxies, changes)))
            server = await self._listen()
            result["server restarts"] = await self._measured(child, self._everybody(99))
            result["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        finally:
            child.terminate()
            await child.wait()
            await server.stop(None)
        return result

    async def _listen(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=SERVER_OPTIONS)
        self._hub.register(server)
        self._port = server.add_insecure_port(f"127.0.0.1:{self._port}")
        await server.start()
        return server

    async def _everybody(self, revision: int) -> None:
        while len(self._hub.ledger.nodes()) < self._clients:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.2)
        status = await self._hub.wait(revision, _LONG)
        if status.state != "applied":
            raise SystemExit(f"revision {revision} is {status.state}")

    async def _changes(self, child: Any, count: int) -> dict[str, Any]:
        took, cpu, before = [], time.process_time(), await _received(child)
        for edit in range(1, count + 1):
            target = world.compiled(1 + edit, *proxies(self._proxies, edit))
            began = time.perf_counter()
            self._hub.set_target(target)
            await self._everybody(1 + edit)
            took.append((time.perf_counter() - began) * 1000)
        return {
            "until all have acknowledged, ms, p50": statistics.median(took),
            "worst": max(took),
            "server CPU ms per change (with making it)": (time.process_time() - cpu) * 1000 / count,
            "bytes per client and change": (await _received(child) - before)
            / count
            / self._clients,
        }

    async def _measured(self, child: Any, work: Any) -> dict[str, Any]:
        began, cpu = time.perf_counter(), time.process_time()
        await work
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        received = await _received(child)
        return {"seconds": took, "server CPU s": cpu, "bytes received until now": received}


async def _received(child: Any) -> int:
    child.stdin.write(b"\n")
    return int(await child.stdout.readline())


def _rss() -> int:
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
