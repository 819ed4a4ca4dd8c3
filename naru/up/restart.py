"""When a child that ended is started again. Pure: time comes in as an argument."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays in seconds: none at first, then exponential, until it has stayed up for `calm`."""

    first: float = 0.1
    factor: float = 2.0
    limit: float = 30.0
    calm: float = 2.0
    _next: float = field(default=0.0, init=False)

    def delay(self, ran_for: float) -> float:
        """Seconds to wait before the next start, after a run of `ran_for` seconds."""
        delay = 0.0 if ran_for >= self.calm else self._next
        self._next = min(max(delay * self.factor, self.first), self.limit)
        return delay
