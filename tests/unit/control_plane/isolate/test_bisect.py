"""`bisect`: for any set of bad ones exactly these are found, in few tries."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from control_plane.isolate.bisect import bad_ones


def run(size: int, bad: frozenset[int]) -> tuple[list[int], int]:
    tries = 0

    async def accepts(items: Sequence[int]) -> bool:
        nonlocal tries
        tries += 1
        return bad.isdisjoint(items)

    return asyncio.run(bad_ones(range(size), accepts)), tries


@given(st.integers(0, 200).flatmap(lambda n: st.tuples(st.just(n), bad_of(n))))
def test_exactly_the_bad_ones_are_found(case: tuple[int, frozenset[int]]) -> None:
    size, bad = case
    found, tries = run(size, bad)
    assert found == sorted(bad)
    assert tries <= 1 + len(bad) * (2 * math.ceil(math.log2(max(size, 2))) + 1)


def bad_of(size: int) -> st.SearchStrategy[frozenset[int]]:
    if size == 0:
        return st.just(frozenset())
    return st.frozensets(st.integers(0, size - 1), max_size=8)


def test_good_ones_take_a_single_try() -> None:
    assert run(1000, frozenset()) == ([], 1)
