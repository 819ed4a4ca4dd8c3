"""How long from the PUT of a template to the first answer that uses it?

Starts the whole product and a provider, fills it with proxies, each with a template of its own,
then edits one template after another while a caller asks that proxy without a pause. Three moments
of each edit, in milliseconds after the PUT was sent: `accepted` (the API has answered: it is in
etcd), `live` (the first answer that was made with the new text has arrived), and `acknowledged`
(a second run, with `?wait=`: every node has said so).

    python -m bench.propagation [--proxies 1000] [--edits 200]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import platform
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.gateway import Gateway, document, running_gateway
from tests.support.provider import running_provider

RESULTS = Path(__file__).parent / "results"
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one kind of measurement, in milliseconds."""

    p50: float
    p99: float
    worst: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        ordered = sorted(value * 1000 for value in seconds)
        p99 = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
        return cls(round(statistics.median(ordered), 1), round(p99, 1), round(ordered[-1], 1))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--proxies", type=int, default=1000)
    options.add_argument("--edits", type=int, default=200)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="naru-bench-") as directory, provider() as url:
        print("starting …", flush=True)
        with running_gateway(Path(directory) / "data") as gateway:
            fill(gateway, url, chosen.proxies)
            result = measure(gateway, chosen.proxies, chosen.edits)
    show(result)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"propagation-{date.today().isoformat()}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")


@contextlib.contextmanager
def provider() -> Iterator[str]:
    """A provider in a process of its own, so that it takes no time from the caller's."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_provide, args=(theirs,))
    process.start()
    theirs.close()  # so that a provider that dies is noticed
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _provide(pipe: Connection) -> None:
    with running_provider() as running:
        running.keep = False
        pipe.send(running.url)
        threading.Event().wait()


def fill(gateway: Gateway, url: str, count: int) -> None:
    """`count` proxies, each with its own template, on one upstream."""
    secret = {"type": "bearer", "secret": "sk-provider-canary", "allowedHosts": ["127.0.0.1"]}
    upstream = {"dialect": "openai", "url": url, "credential": "provider"}
    gateway.apply(
        document("Credential", "provider", secret), document("Upstream", "provider", upstream)
    )
    for start in range(0, count, _BATCH):
        numbers = range(start, min(count, start + _BATCH))
        gateway.apply(
            *(d for number in numbers for d in (template(number, 0), proxy(number))), wait="60s"
        )
        print(f"  {numbers[-1] + 1} proxies", flush=True)


def proxy(number: int) -> dict[str, Any]:
    choice = {"name": "provider", "model": "m"}
    return document("Proxy", f"p{number}", {"upstreams": [choice], "template": f"p{number}"})


def template(number: int, version: int) -> dict[str, Any]:
    content = f"[v{version}] Write about {{{{ dish }}}} in one sentence. " + "Be kind. " * 40
    return document("Template", f"p{number}", {"messages": [{"role": "user", "content": content}]})


def measure(gateway: Gateway, proxies: int, edits: int) -> dict[str, Any]:
    chance = random.Random(1)
    chosen = [chance.randrange(proxies) for _ in range(2 * edits)]
    before, started = cpu(gateway), time.monotonic()
    pairs = [one_edit(gateway, number, v) for v, number in enumerate(chosen[:edits], start=1)]
    used, lasted = cpu(gateway), time.monotonic() - started
    acked = [acked_edit(gateway, n, v) for v, n in enumerate(chosen[edits:], start=edits + 1)]
    return {
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores",
        "proxies": proxies,
        "edits": edits,
        "accepted_ms": asdict(Spread.of([pair[0] for pair in pairs])),
        "live_ms": asdict(Spread.of([pair[1] for pair in pairs])),
        "acknowledged_ms": asdict(Spread.of(acked)),
        "cpu_ms_per_edit": {k: round((used[k] - before[k]) * 1000 / edits, 1) for k in used},
        "cpu_note": f"the caller's own load included ({lasted:.0f} s)",
        "rss_mb": memory(gateway),
    }


def one_edit(gateway: Gateway, number: int, version: int) -> tuple[float, float]:
    """Seconds until the PUT was answered, and until an answer used it."""
    live: list[float] = []
    sent = threading.Event()
    caller = threading.Thread(target=_ask, args=(gateway, number, f"[v{version}]", sent, live))
    caller.start()
    sent.wait()
    started = time.monotonic()
    _put(gateway, number, version)
    accepted = time.monotonic() - started
    caller.join()
    return accepted, live[0] - started


def _ask(
    gateway: Gateway, number: int, mark: str, ready: threading.Event, live: list[float]
) -> None:
    body = {"variables": {"dish": "x"}}
    with httpx.Client(base_url=str(gateway.caller.base_url), timeout=30) as client:
        client.post(f"/p/p{number}", json=body).raise_for_status()
        ready.set()
        while mark not in client.post(f"/p/p{number}", json=body).text:
            pass
        live.append(time.monotonic())


def acked_edit(gateway: Gateway, number: int, version: int) -> float:
    started = time.monotonic()
    _put(gateway, number, version, wait="30s")
    return time.monotonic() - started


def _put(gateway: Gateway, number: int, version: int, **query: str) -> None:
    path = f"/api/v1/templates/p{number}"
    response = gateway.api.put(path, params=query, json=template(number, version))
    assert response.status_code == 200, response.text


def _processes(gateway: Gateway) -> Iterator[tuple[str, psutil.Process]]:
    for role, pids in gateway.endpoints["pids"].items():
        for pid in pids:
            yield role, psutil.Process(pid)


def cpu(gateway: Gateway) -> dict[str, float]:
    """Seconds of CPU that each role has used."""
    used: dict[str, float] = {}
    for role, process in _processes(gateway):
        times = process.cpu_times()
        used[role] = used.get(role, 0.0) + times.user + times.system
    return used


def memory(gateway: Gateway) -> dict[str, int]:
    return {f"{role}.{p.pid}": p.memory_info().rss >> 20 for role, p in _processes(gateway)}


def show(result: dict[str, Any]) -> None:
    print(f"\n{result['proxies']} proxies, {result['edits']} edits, {result['machine']}")
    print(f"{'ms after the PUT':<18}{'p50':>8}{'p99':>8}{'worst':>8}")
    for name in ("accepted", "live", "acknowledged"):
        spread = result[f"{name}_ms"]
        print(f"{name:<18}{spread['p50']:>8}{spread['p99']:>8}{spread['worst']:>8}")
    print("CPU per edit, ms:", result["cpu_ms_per_edit"], "-", result["cpu_note"])
    print("RSS, MB:", result["rss_mb"])


if __name__ == "__main__":
    main()
