"""How what is served moves from one revision to the next, so that nobody ever sees a gap.

    settled ─► adding ─► routing ─► settled
               what the new routes name is served beside the old; every client acknowledges it
                         the routes move; every client acknowledges them
                                    what nothing names any more lingers, then goes

One revision moves at a time, so a refusal is always the moving one's; of those that arrive
meanwhile only the newest is kept. A NACK of the moving revision sends everybody back to the last
good one by the same way. A client that stays silent is waited for once, for `patience` seconds, and
then not again until it answers.

Pure: the caller says what clients did and what time it is, and serves what `advance` gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from control_plane.compile.model import Compiled, XdsResource
from control_plane.xds.retention import Retention
from control_plane.xds.serving import NOTHING, ROUTING, Serving, Stamp, Table, is_additive
from control_plane.xds.stream import Progress


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node refused a response, and with it the target. `names`: what was in the response;
    `named`: those of them that its words name."""

    node: str
    type_url: str
    names: tuple[str, ...]
    named: tuple[str, ...]
    error: str
    target: Compiled
    last_good: Compiled | None


Phase = Literal["settled", "adding", "routing"]
_NONE = Compiled(0, {})


class Switch:
    """The state of the move. Streams are known by number. `linger` and `patience` are in seconds.

    After each call that returns a `Serving` the caller serves it and observes every stream again
    before it calls `advance` the next time.
    """

    def __init__(self, *, linger: float, patience: float) -> None:
        self.serving = NOTHING
        self.phase: Phase = "settled"
        self.target = _NONE  # moving, or served
        self.last_good: Compiled | None = None
        self._patience = patience
        self._until = 0.0  # when patience with this phase ends
        self._retention = Retention(linger)
        self._next: Compiled | None = None
        self._progress: dict[int, Progress] = {}
        self._owing: dict[Phase, set[int]] = {"adding": set(), "routing": set()}
        self._silent: set[int] = set()
        self._hoped = 0  # the epoch of the last good one, as long as it is not proven
        self._trusted = 0  # the last generation that a client accepted in full
        self._refused = self._restoring = self._proven = self._released = False

    def set_target(self, compiled: Compiled) -> None:
        """The newest target wins; it starts when the present move is over."""
        self._next = compiled

    def drop_next(self) -> None:
        """Whoever sets targets makes another in its place."""
        self._next = None

    def observe(self, stream: int, progress: Progress) -> None:
        """Where a stream stands with `serving`."""
        old = self._progress.get(stream)
        self._progress[stream] = progress
        self._released |= old is not None and not old.held <= progress.held
        _mark(self._owing["adding"], stream, progress.owes_additive)
        _mark(self._owing["routing"], stream, progress.owes_routes)
        if not (progress.owes_additive or progress.owes_routes):
            self._silent.discard(stream)
        self._prove(progress)

    def leave(self, stream: int) -> None:
        if self._progress.pop(stream, None) is not None:
            self._released = True
        for streams in (*self._owing.values(), self._silent):
            streams.discard(stream)

    def refuse(self, stamp: Stamp) -> bool:
        """A client refused a response of that moment; whether that rejects the target.

        A revision that a client has accepted in full is beyond recall: a refusal that comes later
        is that client's own trouble. So is one of the last good revision itself.
        """
        if stamp.epoch != self.serving.stamp.epoch or self._restoring or self._proven:
            return False
        first, self._refused = not self._refused, True
        return first

    def distrust(self, stamp: Stamp) -> None:
        """A client refused something of that moment: if it was good by hope only, it is not."""
        if self.last_good is not None and stamp.epoch == self._hoped:
            self.last_good = None

    @property
    def deadline(self) -> float | None:
        """When `advance` has something to do even if nothing happens."""
        if self.phase == "settled":
            return self._retention.expiry
        return self._until if self._owing[self.phase] - self._silent else None

    def advance(self, now: float) -> Serving | None:
        """Takes one step, if one is due: what is to be served from now on."""
        if self._refused and self.last_good is not None:
            self._spoil_routes()
            return self._begin(self.last_good, now, restoring=True)
        if self.phase != "settled":
            if not self._refused and self._waits(now):
                return None
            if self.phase == "adding" and not self._refused:
                return self._move_routes(now)
            self._arrive()
        return self._rest(now)

    def _waits(self, now: float) -> bool:
        owing = self._owing[self.phase] - self._silent
        if owing and now < self._until:
            return True
        self._silent |= owing
        return False

    def _begin(self, target: Compiled, now: float, *, restoring: bool = False) -> Serving:
        if self.last_good is None and self.target is not _NONE and not self._refused:
            # Not proven, but not refused either: better than nothing.
            self.last_good, self._hoped = self.target, self.serving.stamp.epoch
        self.target, self.phase, self._until = target, "adding", now + self._patience
        self._restoring, self._refused, self._proven = restoring, False, False
        self._withdraw_routes()
        self._release(now)
        stamp = Stamp(self.serving.stamp.epoch + 1, self.serving.stamp.generation)
        return self._serve(stamp, self.serving.revision, self._additive(), self.serving.routed)

    def _move_routes(self, now: float) -> Serving:
        self.phase, self._until = "routing", now + self._patience
        stamp = Stamp(self.serving.stamp.epoch, self.serving.stamp.generation + 1)
        served, old = self.target.resources, self.serving.tables
        self._retention.add(stamp.generation, served)
        routes = {t: self._table(t, served.get(t, {})) for t in ROUTING if t in served or t in old}
        return self._serve(stamp, self.target.revision, {**old, **routes}, True)

    def _arrive(self) -> None:
        """Everybody follows. A refused revision with none to go back to stays as far as it came."""
        self.phase, self._released = "settled", True
        for progress in self._progress.values():
            self._prove(progress)

    def _rest(self, now: float) -> Serving | None:
        if self._next is not None:
            target, self._next = self._next, None
            return self._begin(target, now)
        dropped = self._released and self._release(now)
        if not (self._retention.expire(now) or dropped):
            return None
        return self._serve(
            self.serving.stamp, self.serving.revision, self._additive(), self.serving.routed
        )

    def _prove(self, progress: Progress) -> None:
        """A client uses the routes of the target: it is good."""
        if self.phase != "settled" or self._refused:
            return
        if progress.confirmed == self.serving.stamp.generation:
            self._proven, self.last_good, self._hoped = True, self.target, 0
            self._trusted = self.serving.stamp.generation

    def _spoil_routes(self) -> None:
        """The target is refused: if its routes are served, what only they name must not linger."""
        if self.serving.revision == self.target.revision:
            self._retention.spoil(self.serving.stamp.generation)

    def _withdraw_routes(self) -> None:
        """Routes that nobody has used yet are not given to newcomers while the next ones come.

        So a revision that nobody could refuse, because nobody was there, cannot get its successor
        refused for what is wrong with itself.
        """
        generation, tables = self.serving.stamp.generation, self.serving.tables
        known = generation == self._trusted or generation in self._held()
        if known or not self.serving.routed:
            return
        self._retention.spoil(generation)
        additive = {t: table for t, table in tables.items() if is_additive(t)}
        self.serving = replace(self.serving, tables=additive, routed=False)

    def _held(self) -> frozenset[int]:
        return frozenset().union(*(progress.held for progress in self._progress.values()))

    def _release(self, now: float) -> bool:
        self._released = False
        served = {self.serving.stamp.generation} if self.serving.routed else set()
        return self._retention.release(self._held() | served, now)

    def _additive(self) -> Mapping[str, Table]:
        """The tables with the additive types renewed; a type once served stays, if empty."""
        resources, old = self.target.resources, self.serving.tables
        types = [t for t in {**old, **resources} if is_additive(t)]
        renewed = {t: self._table(t, self._retention.union(t, resources)) for t in types}
        return {**old, **renewed}

    def _table(self, type_url: str, resources: Mapping[str, XdsResource]) -> Table:
        old = self.serving.tables.get(type_url)
        return old if old is not None and old.resources is resources else Table(resources)

    def _serve(
        self, stamp: Stamp, revision: int, tables: Mapping[str, Table], routed: bool
    ) -> Serving:
        self.serving = Serving(stamp, revision, tables, routed)
        return self.serving


def _mark(streams: set[int], stream: int, owing: bool) -> None:
    if owing:
        streams.add(stream)
    else:
        streams.discard(stream)
