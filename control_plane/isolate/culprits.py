"""Who of several suspects it is: an Envoy is asked offline, with fewer and fewer of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from control_plane.compile import Unit
from control_plane.isolate.bisect import bad_ones
from control_plane.isolate.validate import ValidatorError
from control_plane.resources import Key

log = logging.getLogger("naru.isolate")

LONGEST: Final = 120.0
"""Seconds of asking; who has not been cleared by then counts as at fault."""


class Validator(Protocol):
    """`validate.EnvoyValidator`."""

    async def accepts(self, units: Iterable[Unit]) -> bool: ...


async def culprits(
    units: Mapping[Key, Unit],
    validator: Validator | None,
    clock: Callable[[], float] = time.monotonic,
) -> Sequence[Key] | None:
    """Those that an Envoy does not take; None if it cannot tell."""
    if validator is None:
        log.error(
            "nobody can tell which of %d changes is at fault: set NARU_ENVOY_BINARY to the path of "
            "an Envoy of the fleet's version",
            len(units),
        )
        return None
    until = clock() + LONGEST

    async def accepts(some: Sequence[Key]) -> bool:
        if clock() > until:
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
    return found or None
