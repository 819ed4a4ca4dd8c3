"""When a child that ended is started again. Pure: time comes in as an argument."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Exponential delays, in seconds, that start over once a child has stayed up for `calm`."""

    first: float = 0.1
    factor: float = 2.0
    limit: float = 30.0
    calm: float = 30.0
    _next: float = field(init=False)

    def __post_init__(self) -> None:
        self._next = self.first

    def delay(self, ran_for: float) -> float:
        """Seconds to wait before the next start, after a run of `ran_for` seconds."""
        if ran_for >= self.calm:
            self._next = self.first
        delay = self._next
        self._next = min(self._next * self.factor, self.limit)
        return delay
