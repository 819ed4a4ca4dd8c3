"""When a call is tried again: only if it is certain that no model has seen it. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from naru.errors import ApiError, ConnectFailed, NaruError

SAFE_CODES = frozenset(
    {
        "credential_unavailable",
        "not_processed",
        "overloaded",
        "plan_unavailable",
        "processor_unavailable",
        "upstream_overloaded",
    }
)
"""Codes of 503 with which the gateway says that it has not sent the request on."""


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `attempts` tries; delays, in seconds, double from `first` up to `limit`."""

    attempts: int = 3
    first: float = 0.2
    limit: float = 5.0
    jitter: Callable[[], float] = random.random

    def delay(self, error: NaruError, attempt: int) -> float | None:
        """Seconds to wait after the failure of try number `attempt` (from 1); none: give up."""
        if attempt >= self.attempts or not _is_safe(error):
            return None
        asked = error.retry_after if isinstance(error, ApiError) else None
        if asked is not None:
            return asked if asked <= self.limit else None
        longest = min(self.first * 2.0 ** (attempt - 1), self.limit)
        return longest * (0.5 + self.jitter() / 2)


def _is_safe(error: NaruError) -> bool:
    if isinstance(error, ApiError):
        return error.status == 503 and error.code in SAFE_CODES
    return isinstance(error, ConnectFailed)
