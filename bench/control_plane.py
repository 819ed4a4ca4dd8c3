"""How soon a change is everywhere, and what it costs, with 1,000 and with 10,000 proxies.

Starts the whole product (one etcd, one control plane, one Envoy, two workers) and a provider; fills
it as a company would: 20 upstreams, 20 credentials, of ten proxies eight with a template of their
own, one with params only, one without anything (native), and one in a hundred with tokens restored
(duplex). Then it changes one thing after another. A change is *live* when `?wait=` says that Envoy
and both workers have acknowledged it; a call through the gateway checks some of them. Bytes are
counted where they are sent, by type.

    python -m bench.control_plane [--proxies 1000 10000] [--changes 60]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import psutil

from bench import processes
from bench.propagation import RESULTS, provider
from tests.support.gateway import Gateway, document, running_gateway, wait_for

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs/control-plane.md"
OPEN: Final = "<!-- bench:control-plane -->"
CLOSE: Final = "<!-- /bench:control-plane -->"
GOALS: Final = {1_000: 100, 10_000: 300}  # milliseconds, p99
_SHARED: Final = 20
_BATCH: Final = 1_000
_NODES: Final = 3
_REST: Final = 10.0  # seconds
_PAUSE: Final = 0.25
"""Seconds between two changes, in which Envoy drops its old routes: one change is measured, not a
queue of them."""
_CHECKED: Final = 20
"""Of so many changes one is checked by a call, which counts for the CPU time, too."""
_KEY: Final = "sk-provider-canary"
_ROLES: Final = ("control_plane", "envoy", "ext_proc")

Documents = list[dict[str, Any]]
Result = dict[str, Any]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--proxies", type=int, nargs="+", default=[1_000, 10_000])
    options.add_argument("--changes", type=int, default=60, help="of each kind")
    chosen = options.parse_args()
    with provider() as url:
        sizes = {count: measured(url, count, chosen.changes) for count in chosen.proxies}
    result = {
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores",
        "changes": chosen.changes,
        "sizes": sizes,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"control-plane-{date.today().isoformat()}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))
    publish(table(result), path)


def measured(url: str, count: int, changes: int) -> Result:
    """Everything about one size."""
    with tempfile.TemporaryDirectory(prefix="naru-bench-") as directory:
        data_dir = Path(directory) / "data"
        with running_gateway(data_dir, NARU_WORKERS="2") as gateway:
            fill(gateway, url, count)
            rest = at_rest(gateway)
            kinds = {
                name: series(gateway, change, changes)
                for name, change in change_kinds(gateway, url, count).items()
            }
        with running_gateway(data_dir, NARU_WORKERS="2") as gateway:
            cold = cold_start(gateway)
    print(f"{count}: {kinds}", flush=True)
    return {"cold_start_s": cold, "changes": kinds, **rest}


def fill(gateway: Gateway, url: str, count: int) -> None:
    """All of a company."""
    gateway.apply(*shared(url))
    for start in range(0, count, _BATCH):
        numbers = range(start, min(count, start + _BATCH))
        gateway.apply_json([d for number in numbers for d in proxy(number)], wait="120s")
        print(f"  {numbers[-1] + 1} proxies", flush=True)


def shared(url: str) -> Iterator[dict[str, Any]]:
    for number in range(_SHARED):
        yield credential(number, _KEY)
        spec = {"dialect": "openai", "url": url, "credential": f"key{number}"}
        yield document("Upstream", f"up{number}", spec)


def credential(number: int, secret: str) -> dict[str, Any]:
    spec = {"type": "bearer", "secret": secret, "allowedHosts": ["127.0.0.1"]}
    return document("Credential", f"key{number}", spec)


def proxy(number: int, upstream: int | None = None) -> Documents:
    """A proxy, and its template if it has one."""
    choice: dict[str, Any] = {"name": f"up{number % _SHARED if upstream is None else upstream}"}
    spec: dict[str, Any] = {"upstreams": [choice]}
    if number % 10 == 0:
        return [document("Proxy", f"p{number}", spec)]
    if number % 100 == 7:
        spec["restore"] = {"[[SHOP]]": "Naru"}
    choice["model"] = "m"
    if number % 10 == 9:
        return [document("Proxy", f"p{number}", spec | {"params": {"temperature": 0.5}})]
    return [template(number, 0), document("Proxy", f"p{number}", spec | {"template": f"p{number}"})]


def template(number: int, version: int) -> dict[str, Any]:
    content = f"[v{version}] Write about {{{{ dish }}}} in one sentence. " + "Be kind. " * 40
    return document("Template", f"p{number}", {"messages": [{"role": "user", "content": content}]})


Change = Callable[[int], Callable[[], None]]
"""Makes a change, and gives what asks the gateway whether it is there."""


def change_kinds(gateway: Gateway, url: str, count: int) -> dict[str, Change]:
    """What is changed, by name; each is told how often it was called before."""
    chance = random.Random(1)

    def edited() -> int:
        return chance.randrange(count // 10) * 10 + 1  # has a template

    def edit(turn: int) -> Callable[[], None]:
        number = edited()
        _put(gateway, template(number, turn + 1))
        return lambda: _ask(gateway, number, f"[v{turn + 1}]")

    def switch(turn: int) -> Callable[[], None]:
        number = edited()
        _put(gateway, proxy(number, chance.randrange(_SHARED))[-1])
        return lambda: _ask(gateway, number, "[v")

    def add(turn: int) -> Callable[[], None]:
        number = (count + turn) * 10 + 1
        gateway.apply_json(proxy(number), wait="60s")
        return lambda: _ask(gateway, number, "[v0]")

    def rotate(turn: int) -> Callable[[], None]:
        number = 1 + turn % (_SHARED - 1)
        _put(gateway, credential(number, f"sk-{turn}"))
        return lambda: _refused(gateway, number + 20 * (number % 10 == 0))

    return {
        "template edited": edit,
        "upstream switched": switch,
        "proxy added": add,
        "credential rotated": rotate,
    }


def series(gateway: Gateway, change: Change, changes: int) -> Result:
    """One kind of change, again and again: how long each took, and what all cost."""
    change(0)  # what is new to everybody is slower
    roles = _roles(gateway)
    sent, used, times = sent_by_type(gateway), processes.cpu_by_role(roles), []
    for turn in range(1, changes + 1):
        time.sleep(_PAUSE)
        started = time.monotonic()
        check = change(turn)
        times.append(time.monotonic() - started)
        if turn % _CHECKED == 0:
            check()
    now, after = processes.cpu_by_role(roles), sent_by_type(gateway)
    found = {kind: round((after[kind] - sent.get(kind, 0)) / changes) for kind in after}
    return {
        "live_ms": spread(times),
        "bytes_per_change": {kind: size for kind, size in found.items() if size},
        "cpu_ms_per_change": {r: round((now[r] - used[r]) * 1000 / changes, 1) for r in _ROLES},
    }


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(1000 * each for each in seconds)
    p99 = ordered[max(0, math.ceil(0.99 * len(ordered)) - 1)]
    return {
        "p50": round(statistics.median(ordered), 1),
        "p99": round(p99, 1),
        "worst": round(ordered[-1], 1),
    }


def sent_by_type(gateway: Gateway) -> dict[str, float]:
    """Bytes of resources that the control plane has sent to all nodes."""
    text, head = gateway.api.get("/metrics").text, 'naru_xds_sent_bytes_total{type="'
    lines = [line.removeprefix(head) for line in text.splitlines() if line.startswith(head)]
    return {line.partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}


def at_rest(gateway: Gateway) -> Result:
    """Memory, and CPU time of ten seconds in which nothing changes."""
    roles = _roles(gateway)
    before = processes.cpu_by_role(roles)
    time.sleep(_REST)
    after, rss = processes.cpu_by_role(roles), processes.rss_by_role(roles)
    return {
        "rss_mb": {role: round(rss[role]) for role in _ROLES},
        "cpu_percent_at_rest": {r: round((after[r] - before[r]) / _REST * 100, 1) for r in _ROLES},
    }


def cold_start(gateway: Gateway) -> float:
    """Seconds from the start of the control plane's process to the moment when every node has all
    of the newest revision."""
    wait_for(lambda: _everywhere(gateway), 120, "the newest revision at every node")
    (pid,) = gateway.endpoints["pids"]["control_plane"]
    return round(time.time() - psutil.Process(pid).create_time(), 2)


def _everywhere(gateway: Gateway) -> bool:
    status = gateway.api.get("/api/v1/status").json()
    applied = [
        node
        for node in status["nodes"]
        if node["connected"] and node["applied_revision"] >= status["revision"]
    ]
    return len(applied) >= _NODES


def _roles(gateway: Gateway) -> processes.Roles:
    pids: Mapping[str, Sequence[int]] = gateway.endpoints["pids"]
    return {role: pids[role] for role in _ROLES}


def _put(gateway: Gateway, wanted: Mapping[str, Any]) -> None:
    path = f"/api/v1/{wanted['kind'].lower()}s/{wanted['metadata']['name']}".replace("xys", "xies")
    response = gateway.api.put(path, params={"wait": "60s"}, json=wanted)
    assert response.status_code in (200, 201), response.text


def _ask(gateway: Gateway, number: int, mark: str) -> None:
    answer = gateway.run(f"p{number}", {"dish": "x"})
    assert mark in answer.text, answer.text


def _refused(gateway: Gateway, number: int) -> None:
    """The provider does not know the new key, so it must say so."""
    answer = gateway.run(f"p{number}", {"dish": "x"})
    assert "invalid_api_key" in answer.text, answer.text


def table(result: Result) -> str:
    """Markdown: what takes how long, and what is sent."""
    lines = [
        "| proxies | change | live p50 ms | p99 ms | goal | sent to all nodes, bytes | CPU ms: "
        "control plane / Envoy / workers |",
        "|---:|---|---:|---:|---:|---|---|",
    ]
    for count, size in result["sizes"].items():
        for name, each in size["changes"].items():
            sent = ", ".join(f"{k} {v:,}" for k, v in sorted(each["bytes_per_change"].items()))
            cpu = " / ".join(f"{each['cpu_ms_per_change'][role]:g}" for role in _ROLES)
            live, goal = each["live_ms"], GOALS.get(int(count))
            lines.append(
                f"| {int(count):,} | {name} | {live['p50']:g} | {live['p99']:g} | "
                f"{f'< {goal}' if goal else '–'} | {sent} | {cpu} |"
            )
    return "\n".join([*lines, "", *_rest_table(result)])


def _rest_table(result: Result) -> list[str]:
    lines = [
        "| proxies | cold start s | memory MB: control plane / Envoy / two workers | CPU at rest, "
        "% of a core |",
        "|---:|---:|---|---|",
    ]
    for count, size in result["sizes"].items():
        rss, cpu = (
            " / ".join(f"{size[what][role]:g}" for role in _ROLES)
            for what in ("rss_mb", "cpu_percent_at_rest")
        )
        lines.append(f"| {int(count):,} | {size['cold_start_s']:g} | {rss} | {cpu} |")
    note = f"{result['changes']} changes of each kind; {result['machine']}, everything on it."
    return [*lines, "", note]


def publish(table: str, path: Path) -> None:
    """Puts the table between the two lines of the page."""
    text = PAGE.read_text()
    before, _, rest = text.partition(OPEN)
    after = rest.partition(CLOSE)[2]
    kept = os.path.relpath(path, PAGE.parent)
    shown = f"{table}\n\nAll of it: [`{path.name}`]({kept})."
    PAGE.write_text(f"{before}{OPEN}\n{shown}\n{CLOSE}{after}")


if __name__ == "__main__":
    main()
