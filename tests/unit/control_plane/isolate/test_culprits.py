"""`culprits`: an Envoy that cannot tell, or that takes too long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from control_plane.compile import Unit
from control_plane.isolate.culprits import LONGEST, Findings, culprits
from control_plane.isolate.validate import ValidatorError
from control_plane.resources import Key

pytestmark = pytest.mark.anyio
UNITS = {Key("proxies", name): Unit((), ()) for name in "abcd"}
BY_ID = {id(unit): key for key, unit in UNITS.items()}


class Offline:
    """Takes all but those named; `steps` of a clock go by with each question."""

    def __init__(self, *bad: str, error: bool = False) -> None:
        self.bad, self.error, self.asked = set(bad), error, 0

    async def accepts(self, units: Iterable[Unit]) -> bool:
        self.asked += 1
        if self.error:
            raise ValidatorError("cannot be started")
        return not any(BY_ID[id(unit)].name in self.bad for unit in units)


async def test_those_that_are_not_taken() -> None:
    assert await culprits(UNITS, Offline("b", "d")) == Findings(keys("b", "d"))


@pytest.mark.parametrize("offline", [None, Offline(error=True), Offline()])
async def test_nobody_can_tell(offline: Offline | None, caplog: pytest.LogCaptureFixture) -> None:
    assert await culprits(UNITS, offline) is None
    assert caplog.records


async def test_when_the_time_is_up_only_the_cleared_are_let_go() -> None:
    times = clock(0, 1, 2, LONGEST + 1)
    offline = Offline("d")
    found = await culprits(UNITS, offline, lambda: next(times))
    assert found == Findings(keys(), uncleared=keys("c", "d"))
    assert offline.asked == 2


async def test_who_is_known_to_be_at_fault_by_then_is_told_from_the_rest() -> None:
    """`a` is good and the two of them are not: so `b` need not be asked."""
    times = clock(0, 1, 2, 3, LONGEST + 1)
    found = await culprits(UNITS, Offline("b", "d"), lambda: next(times))
    assert found == Findings(keys("b"), uncleared=keys("c", "d"))


def keys(*names: str) -> frozenset[Key]:
    return frozenset(Key("proxies", name) for name in names)


def clock(*times: float) -> Iterator[float]:
    yield from times
    while True:
        yield times[-1]
