"""Credentials that end soon, or have: what is said of them, in the log and elsewhere.

They are sent all the same: whether a key is still good is the provider's decision.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from control_plane.resources import Credential, Key, Resource
from control_plane.resources._moment import show

log = logging.getLogger("naru.credentials")

SOON: Final = timedelta(days=14)
_LOOK: Final = 60.0
_AGAIN: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, order=True)
class Ending:
    """A credential that ends within `SOON`, or has ended."""

    at: datetime
    name: str

    def ended(self, now: datetime) -> bool:
        return self.at <= now

    def words(self, now: datetime) -> str:
        """A sentence for an operator."""
        if self.ended(now):
            said = f"has expired ({show(self.at)}) and is still sent"
        else:
            said = f"expires in {_long(self.at - now)} ({show(self.at)})"
        return f"credential {self.name} {said}: replace its secret, and set spec.expiresAt"


def ending(resources: Mapping[Key, Resource], now: datetime | None = None) -> tuple[Ending, ...]:
    """Those that end soon or have ended, the first one first."""
    limit = (now or datetime.now(UTC)) + SOON
    found = (
        Ending(resource.spec.expiresAt, resource.metadata.name)
        for resource in resources.values()
        if isinstance(resource, Credential) and resource.spec.expiresAt is not None
    )
    return tuple(sorted(each for each in found if each.at <= limit))


class Reminder:
    """Says what ends: once when it comes near, once a day from then on, once when it has ended."""

    def __init__(self) -> None:
        self._said: dict[tuple[Ending, bool], datetime] = {}

    def due(self, found: Iterable[Ending], now: datetime) -> list[str]:
        """The sentences to say now."""
        states = {(each, each.ended(now)): each for each in found}
        self._said = {state: at for state, at in self._said.items() if state in states}
        fresh = [state for state in states if now - self._said.get(state, _LONG_AGO) >= _AGAIN]
        self._said |= dict.fromkeys(fresh, now)
        return [states[state].words(now) for state in fresh]

    async def run(self, resources: Callable[[], Mapping[Key, Resource]]) -> None:
        """Log them until cancelled."""
        while True:
            now = datetime.now(UTC)
            for sentence in self.due(ending(resources(), now), now):
                log.warning("%s", sentence)
            await asyncio.sleep(_LOOK)


_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


def _long(left: timedelta) -> str:
    hours = int(left.total_seconds() // 3600)
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours"
