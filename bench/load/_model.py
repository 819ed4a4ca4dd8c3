"""What a closed-loop client is asked and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.contestants import Request


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of a client saw.

    Attributes:
        tool: `wrk` or `python`.
        errors: answers that were not 200, and connections that failed, by kind.
        cpu_seconds: the client's own.
    """

    tool: str
    requests: int
    seconds: float
    errors: dict[str, int]
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_seconds: float


Tool = Callable[[Request, int, float], Load]
"""Runs for some seconds with so many connections, each asking as soon as it is answered."""
