"""Where each stream stands with the moves of this replica: what the other replicas must know. Pure.

A stream has *added* a move when it has acknowledged everything additive of it, and has *routed* it
when it has acknowledged its routes, too. A node is as far as the slowest of its streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from control_plane.xds.elsewhere import Move, Phase
from control_plane.xds.stream import Progress


@dataclass(frozen=True, slots=True)
class Standing:
    """`holds` are the revisions whose routes may be in use."""

    added: Move = field(default_factory=Move)
    routed: bool = False
    holds: frozenset[int] = frozenset()


class Roll:
    """Streams by number."""

    def __init__(self) -> None:
        self._standings: dict[int, Standing] = {}

    def observe(
        self,
        stream: int,
        progress: Progress,
        at: tuple[Move, Phase],
        revisions: Callable[[Iterable[int]], frozenset[int]],
    ) -> bool:
        """Where a stream stands with what is served now; whether that is new."""
        old = self._standings.get(stream, Standing())
        (move, phase), added, routed = at, old.added, old.routed
        if not progress.owes_additive:
            added = move
            routed = phase != "adding" and not progress.owes_routes
        new = Standing(added, routed, revisions(progress.held))
        self._standings[stream] = new
        return new != old

    def leave(self, stream: int) -> None:
        self._standings.pop(stream, None)

    def of(self, streams: Iterable[int]) -> Standing:
        """The standing of a node with these streams."""
        each = [self._standings.get(stream, Standing()) for stream in streams]
        return Standing(
            min((standing.added for standing in each), default=Move()),
            all(standing.routed for standing in each),
            frozenset().union(*(standing.holds for standing in each)),
        )
