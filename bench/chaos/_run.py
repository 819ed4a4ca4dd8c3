"""One run: load, edits, strikes; then peace, and everybody is asked what he has."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from bench.chaos._calls import Callers
from bench.chaos._echo import Echo, echoing
from bench.chaos._edits import Writer
from bench.chaos._fleet import NODES, Fleet, fleet
from control_plane.compile import Compiler, GatewaySettings
from control_plane.store import KekFile, Keyring, Snapshot, Store
from tests.support.gateway import wait_for

PEACE: Final = 60.0
"""Seconds in which everything must agree after the last strike."""


@dataclass
class Outcome:
    """What happened, and what is wrong; nothing should be."""

    strikes: Counter[str]
    answered: int
    failures: Counter[str]
    writes: Counter[str]
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join([
            f"strikes   {_listed(self.strikes)}",
            f"calls     {self.answered} answered, {sum(self.failures.values())} failed "
            f"({_listed(self.failures)})",
            f"writes    {_listed(self.writes)}",
            *(f"WRONG     {problem}" for problem in self.problems),
        ])  # fmt: skip


def run(directory: Path, seconds: float, seed: int, say: Callable[[str], None]) -> Outcome:
    """Strike for so long; the same seed strikes the same parts in the same order."""
    with fleet(directory) as made, echoing() as echo:
        writer = Writer(made.apis, echo)
        first = writer.write(0, "30s")
        assert first.status_code == 200, first.text
        gateway = made.up.endpoints["gateway"]
        with Callers([gateway]) as callers:
            with writer:
                _strike(made, seconds, random.Random(seed), say)
            last = wait_for(lambda: _written(writer, made, echo), PEACE, "a last write")
            outcome = Outcome(
                Counter(made.strikes), callers.answered, callers.failures, writer.answers
            )
            _agree(outcome, made, last)
        outcome.problems += [f"a mixture: {text}" for text in callers.mixed[:5]]
        outcome.problems += _lost(writer, made)
        outcome.problems += asyncio.run(_differences(made))
    return outcome


def _strike(made: Fleet, seconds: float, dice: random.Random, say: Callable[[str], None]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        victim = dice.choice(sorted(made.victims))
        say(f"{end - time.monotonic():6.0f} s left: {victim}")
        made.strike(victim)
        time.sleep(dice.uniform(0.2, 1.5))


def _written(writer: Writer, made: Fleet, echo: Echo) -> int:
    """A write that everybody has acknowledged, and its number; 0 if it could not be."""
    writer.last += 1
    try:
        answer = writer.write(writer.last, "10s")
    except httpx.HTTPError:
        return 0
    if answer.status_code == 202:
        return 0
    writer.note(writer.last, answer)
    return writer.last if answer.status_code == 200 else 0


def _agree(outcome: Outcome, made: Fleet, last: int) -> None:
    """Every control plane says that every node has the newest revision, and calls prove it."""

    def agreed() -> bool:
        states = [api.get("/api/v1/status").json() for api in made.apis]
        if len({state["revision"] for state in states}) != 1:
            return False
        return all(_has_all(state) for state in states)

    try:
        wait_for(agreed, PEACE, "agreement")
    except AssertionError:
        states = [api.get("/api/v1/status").json() for api in made.apis]
        outcome.problems.append(f"no agreement: {states}")
    with httpx.Client(base_url=made.up.endpoints["gateway"], timeout=30) as caller:
        for _ in range(20):
            text = caller.post("/p/chaos", json={"variables": {}}, headers={"connection": "close"})
            if f"say g{last}" not in text.text:
                outcome.problems.append(f"not the last write ({last}): {text.text}")
                return


def _has_all(state: dict[str, Any]) -> bool:
    have = {node["id"]: node["applied_revision"] for node in state["nodes"] if node["connected"]}
    newest = state["revision"]
    return have.keys() == NODES and all(applied >= newest for applied in have.values())


def _lost(writer: Writer, made: Fleet) -> list[str]:
    """Writes that were acknowledged and are not there, or were refused and are."""
    problems = []
    for api in made.apis:
        there = {int(n[8:]) for n in _names(api, "templates") if n.startswith("written-")}
        if lost := writer.stored - there:
            problems.append(f"lost: {sorted(lost)}")
        if ghosts := writer.refused & there:
            problems.append(f"written though refused: {sorted(ghosts)}")
    return problems


def _names(api: httpx.Client, plural: str) -> set[str]:
    names: set[str] = set()
    more: dict[str, str] = {}
    while True:
        page = api.get(f"/api/v1/{plural}", params={"limit": "1000", **more}).json()
        names |= {item["metadata"]["name"] for item in page["items"]}
        if not page["continue"]:
            return names
        more = {"continue": page["continue"]}


async def _differences(made: Fleet) -> list[str]:
    """What the Envoys have, by their own word, against what is in etcd, compiled afresh."""
    etcd = made.up.endpoints["etcd"].removeprefix("http://")
    async with Store([etcd], Keyring(KekFile(made.up.data_dir / "kek"))) as store:
        snapshot: Snapshot = await store.reflector.wait_for(1, 10)
    host, _, port = made.up.endpoints["gateway"].removeprefix("http://").rpartition(":")
    settings = GatewaySettings(host=host, port=int(port))
    compiled = Compiler(settings).compile(snapshot.revision, snapshot.resources)
    wanted = {unit.route[0] for unit in compiled.units.values() if unit.route is not None}
    problems = []
    for admin in made.admins:
        dump = await asyncio.to_thread(_routes_of, admin)
        if missing := {name for name in wanted if f'"{name}"' not in dump}:
            problems.append(f"{admin} has not the routes {sorted(missing)}")
    return problems


def _routes_of(admin: str) -> str:
    return httpx.get(f"{admin}/config_dump?resource=dynamic_route_configs").text


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
