"""Which of many are bad, if a group can only be tried as a whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
Accepts = Callable[[Sequence[T]], Awaitable[bool]]


async def bad_ones(items: Sequence[T], accepts: Accepts[T]) -> list[T]:
    """Those items that are not accepted alone; about 2·log2(n) tries for each that is bad."""
    if not items or await accepts(items):
        return []
    return await _within(items, accepts)


async def _within(items: Sequence[T], accepts: Accepts[T]) -> list[T]:
    """The bad ones of items that are not accepted together."""
    if len(items) == 1:
        return list(items)
    first, second = items[: len(items) // 2], items[len(items) // 2 :]
    found = await bad_ones(first, accepts)
    if not found:
        return await _within(second, accepts)  # so it must be there
    return found + await bad_ones(second, accepts)
