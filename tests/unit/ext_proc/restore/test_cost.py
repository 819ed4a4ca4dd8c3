"""Four times as long an answer takes about four times as long, whatever the provider puts in it.

What grows with the square takes sixteen times as long.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.unit.ext_proc.restore.drive import event, restore


def choices_that_end(count: int) -> bytes:
    delta = {"content": "[["}
    choices = [{"index": n, "delta": delta, "finish_reason": "stop"} for n in range(count)]
    return event({"choices": choices})


def pieces_beside_many_fields(count: int) -> bytes:
    choices = [{"index": 0, "delta": {"content": "[["}}] * count
    return event({**{f"{n}": [] for n in range(count)}, "choices": choices})


def took(data: bytes) -> float:
    begin = time.process_time()
    restore(data)
    return time.process_time() - begin


@pytest.mark.parametrize("make", [choices_that_end, pieces_beside_many_fields])
def test_time_is_linear(make: Callable[[int], bytes]) -> None:
    few = min(took(make(2_000)) for _ in range(3))
    many = min(took(make(8_000)) for _ in range(3))
    assert many < 9 * few + 0.002
