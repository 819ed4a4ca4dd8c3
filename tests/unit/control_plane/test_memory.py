"""`_memory`: what stays is frozen once, and again when a lot has come."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from typing import Any, cast

import pytest

from control_plane import _memory
from control_plane._loop import CompileLoop
from control_plane.compile import Compiled, Unit
from control_plane.resources import Key

pytestmark = pytest.mark.anyio


class Compilation:
    """Has an outcome whenever it is told."""

    def __init__(self) -> None:
        self.outcome: object = None
        self.live: Compiled | None = None
        self._news = asyncio.Event()

    def compiled(self, units: int) -> None:
        made: Mapping[Key, Unit] = {Key("proxies", f"p{n}"): Unit((), ()) for n in range(units)}
        self.outcome, self.live = object(), Compiled(1, {}, made)
        self._news.set()

    async def changed(self, seen: object, timeout: float) -> None:
        while self.outcome is seen:
            self._news.clear()
            await self._news.wait()


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    calls: list[None] = []
    monkeypatch.setattr(gc, "freeze", lambda: calls.append(None))
    return calls


async def test_frozen_when_a_lot_has_come(frozen: list[None]) -> None:
    compilation: Any = Compilation()
    task = asyncio.create_task(_memory.settle(cast(CompileLoop, compilation)))
    for units, times in ((10, 0), (1000, 1), (1001, 1), (1600, 1), (1800, 2), (5, 2)):
        compilation.compiled(units)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(frozen) == times, units
    task.cancel()
