"""Who of several suspects it is: an Envoy is asked offline, with fewer and fewer of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from control_plane.compile import Unit
from control_plane.isolate.bisect import bad_ones
from control_plane.isolate.validate import ValidatorError
from control_plane.resources import Key

log = logging.getLogger("naru.isolate")

LONGEST: Final = 120.0
"""Seconds of asking; who has not been cleared by then stays set aside, and is told so."""


@dataclass(frozen=True, slots=True)
class Findings:
    """`guilty`: an Envoy does not take them. `uncleared`: it was not asked of them in time."""

    guilty: frozenset[Key]
    uncleared: frozenset[Key] = frozenset()


class Validator(Protocol):
    """`validate.EnvoyValidator`."""

    async def accepts(self, units: Iterable[Unit]) -> bool: ...


async def culprits(
    units: Mapping[Key, Unit],
    validator: Validator | None,
    clock: Callable[[], float] = time.monotonic,
) -> Findings | None:
    """Who is, or may be, at fault; None if nobody can tell anything."""
    if validator is None:
        log.error(
            "nobody can tell which of %d changes is at fault: set NARU_ENVOY_BINARY to the path of "
            "an Envoy of the fleet's version",
            len(units),
        )
        return None
    until, late = clock() + LONGEST, set[Key]()

    async def accepts(some: Sequence[Key]) -> bool:
        if clock() > until:
            late.update(some if len(some) == 1 else ())
            return False
        return await validator.accepts([units[key] for key in some])

    try:
        found = await bad_ones(sorted(units), accepts)
    except ValidatorError as error:
        log.error("it cannot be told who is at fault: %s", error)
        return None
    except Exception:  # a fault of ours must not leave them under suspicion for ever
        log.exception("it cannot be told who is at fault")
        return None
    if not found:
        log.error("an Envoy takes offline all of the %d changes that a node refused", len(units))
        return None
    return Findings(frozenset(found) - late, frozenset(late))
