"""Rounds: how long each contestant is warmed up before its rounds count."""

from __future__ import annotations

from typing import Any

import pytest

from bench import rounds
from bench.arena import Arena, Entrant
from bench.contestants import CONTESTANTS, Request, Upstream
from bench.load import Load

LOAD = Load("wrk", 1, 1.0, {}, 1.0, 2.0, 3.0, 0.1)
COUNTED = rounds.Round(LOAD, {}, {}, 0.1, 0.1, {})


@pytest.mark.parametrize(("seconds", "ours"), [(3.0, 2.0), (1.0, 1.0)])
def test_peers_are_warmed_up_for_longer(
    seconds: float, ours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, float]] = []

    def measure(_arena: Arena, entrant: Entrant, _tool: Any, lasts: float, _: int) -> rounds.Round:
        asked.append((entrant.name, lasts))
        return COUNTED

    monkeypatch.setattr(rounds, "measure", measure)
    system: Any = None
    names = ("native", "portkey", "litellm")
    entrants = [Entrant(CONTESTANTS[name], system, Request("", b"")) for name in names]
    tool: Any = None
    found = rounds.interleaved(
        Arena(Upstream(0, 0), {}, entrants), tool, 1, seconds, 4, lambda _: None
    )
    warm_up, counted = asked[:3], asked[3:]
    assert warm_up == [("native", ours), ("portkey", 12.0), ("litellm", 12.0)]
    assert counted == [(name, seconds) for name in names]
    assert found == {name: [COUNTED] for name in names}
