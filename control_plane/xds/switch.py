"""How what is served moves from one revision to the next, so that nobody ever sees a gap.

    settled ─► adding ─► routing ─► settled
               what the new routes name is served beside the old; every client acknowledges it
                         the routes move; every client acknowledges them
                                    what nothing names any more lingers, then goes

One revision moves at a time, so a refusal is always the moving one's; of those that arrive
meanwhile only the newest is kept. A NACK of the moving revision sends everybody back to the last
good one by the same way. A client that stays silent is waited for once, for `patience` seconds, and
then not again until it answers.

Nodes that are connected to other replicas are waited for in the same way, as far as their reports
tell (`elsewhere.py`). A move that those have passed is given up for the next one, unless its routes
are served already; so under changes that come faster than reports, routes move when it gets calmer.

Pure: the caller says what clients did and what time it is, and serves what `advance` gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from control_plane.compile.model import ENDPOINT, PLAN, SECRET, Compiled, XdsResource
from control_plane.xds.elsewhere import Elsewhere, Move, Phase
from control_plane.xds.report import Report
from control_plane.xds.retention import Retention
from control_plane.xds.serving import NOTHING, ROUTING, Serving, Stamp, Table, is_additive
from control_plane.xds.stream import Progress


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Refusal:
    """A node refused a response, and with it the target. `names`: what was in the response;
    `named`: those of them that its words name. Each is an event: equal to itself alone."""

    node: str
    type_url: str
    names: tuple[str, ...]
    named: tuple[str, ...]
    error: str
    target: Compiled
    last_good: Compiled | None


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
        self.move = Move()
        self.elsewhere = Elsewhere()
        self._patience = patience
        self._until = 0.0  # when patience with this phase ends
        self._retention = Retention(linger)
        self._next: Compiled | None = None
        self._progress: dict[int, Progress] = {}
        self._owing: dict[Phase, set[int]] = {"adding": set(), "routing": set()}
        self._silent: set[int] = set()
        self._hoped = 0  # the epoch of the last good one, as long as it is not proven
        self._trusted = 0  # the last generation that a client accepted in full
        self._revisions: dict[int, int] = {}  # of generations
        self._spoiled: int | None = None  # the generation that is being taken back
        self._beside: Mapping[str, XdsResource] = {}
        self._beside_due = False
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

    def hear(self, node: str, report: Report | None) -> None:
        """What another replica says of a node."""
        old = self.elsewhere.holds
        self.elsewhere.hear(node, report)
        self._released |= not old <= self.elsewhere.holds
        self._prove_elsewhere()

    def serve_beside(self, endpoints: Mapping[str, XdsResource]) -> None:
        """Endpoints that are served beside those of the target, whichever that is."""
        self._beside, self._beside_due = endpoints, True

    def revisions(self, generations: Iterable[int]) -> frozenset[int]:
        """The revisions that routes were of."""
        return frozenset(self._revisions[g] for g in generations if g in self._revisions)

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
        waits = self._owing[self.phase] - self._silent or self.elsewhere.waited_for
        return self._until if waits else None

    def advance(self, now: float) -> Serving | None:
        """Takes one step, if one is due: what is to be served from now on."""
        if self._refused and self.last_good is not None:
            self._spoil_routes()
            return self._begin(self.last_good, now, restoring=True)
        if self._beside_due and self.serving.tables:
            return self._serve_again()
        if self.phase != "settled":
            if self._is_passed():
                return self._skip(now)
            if not self._refused and self._waits(now):
                return None
            if self.phase == "adding" and not self._refused:
                return self._move_routes(now)
            self._arrive()
        return self._rest(now)

    def _waits(self, now: float) -> bool:
        owing = self._owing[self.phase] - self._silent
        if (owing or self.elsewhere.waited_for) and now < self._until:
            return True
        self._silent |= owing
        self.elsewhere.give_up()
        return False

    def _is_passed(self) -> bool:
        moving = self.phase == "adding" and not self._refused
        idle = not self._progress  # who joins then must get the newest: others may be using it
        return moving and self._next is not None and (self.elsewhere.passed or idle)

    def _skip(self, now: float) -> Serving:
        """Others are further. Some may have moved their routes all the same, if nobody here owed
        anything any more: then what this move brought lingers. Else it could be refused still, and
        the next one for its sake; with nobody here, those elsewhere need no more than plans."""
        assert self._next is not None
        if not self._owing["adding"]:
            brought = self.target.resources
            types = brought if self._progress else brought.keys() & {PLAN, SECRET}
            self._retention.outlive({t: brought[t] for t in types}, now)
        target, self._next = self._next, None
        return self._begin(target, now)

    def _begin(self, target: Compiled, now: float, *, restoring: bool = False) -> Serving:
        proven_by_use = self.phase == "settled" and not self._refused
        if self.last_good is None and self.target is not _NONE and proven_by_use:
            # Not proven, but not refused either: better than nothing.
            self.last_good, self._hoped = self.target, self.serving.stamp.epoch
        self.target, self.phase, self._until = target, "adding", now + self._patience
        self._restoring, self._refused, self._proven = restoring, False, False
        self.move = _next_move(self.move, target.revision, restoring)
        self.elsewhere.enter(self.phase, self.move)
        self._withdraw_routes()
        self._release(now)
        stamp = Stamp(self.serving.stamp.epoch + 1, self.serving.stamp.generation)
        return self._serve(stamp, self.serving.revision, self._additive(), self.serving.routed)

    def _move_routes(self, now: float) -> Serving:
        self.phase, self._until = "routing", now + self._patience
        stamp = Stamp(self.serving.stamp.epoch, self.serving.stamp.generation + 1)
        self.elsewhere.enter(self.phase, self.move)
        served, old = self.target.resources, self.serving.tables
        self._revisions[stamp.generation] = self.target.revision
        self._retention.add(stamp.generation, served)
        routes = {t: self._table(t, served.get(t, {})) for t in ROUTING if t in served or t in old}
        return self._serve(stamp, self.target.revision, {**old, **routes}, True)

    def _arrive(self) -> None:
        """Everybody follows. A refused revision with none to go back to stays as far as it came."""
        self.phase, self._released, self._spoiled = "settled", True, None
        self.elsewhere.enter(self.phase, self.move)
        for progress in self._progress.values():
            self._prove(progress)
        self._prove_elsewhere()

    def _rest(self, now: float) -> Serving | None:
        if self._next is not None:
            target, self._next = self._next, None
            return self._begin(target, now)
        dropped = self._released and self._release(now)
        return self._serve_again() if self._retention.expire(now) or dropped else None

    def _serve_again(self) -> Serving:
        """The same, but for what lingers and what is beside."""
        self._beside_due = False
        was = self.serving
        return self._serve(was.stamp, was.revision, self._additive(), was.routed)

    def _prove(self, progress: Progress) -> None:
        """A client uses the routes of the target: it is good."""
        if self.phase != "settled" or self._refused:
            return
        if progress.confirmed == self.serving.stamp.generation:
            self._is_good()

    def _prove_elsewhere(self) -> None:
        if self.phase != "settled" or self._refused or self._proven:
            return
        if self.elsewhere.proves(self.target.revision):
            self._is_good()

    def _is_good(self) -> None:
        self._proven, self.last_good, self._hoped = True, self.target, 0
        self._trusted = self.serving.stamp.generation

    def _spoil_routes(self) -> None:
        """The target is refused: if its routes are served, what only they name must not linger."""
        if self.serving.revision == self.target.revision:
            self._spoiled = self.serving.stamp.generation
            self._retention.spoil(self._spoiled, self._good())

    def _withdraw_routes(self) -> None:
        """Routes that nobody has used yet are not given to newcomers while the next ones come.

        So a revision that nobody could refuse, because nobody was there, cannot get its successor
        refused for what is wrong with itself.
        """
        generation, tables = self.serving.stamp.generation, self.serving.tables
        known = generation == self._trusted or generation in self._held()
        if known or not self.serving.routed:
            return
        self._retention.spoil(generation, self._good())
        additive = {t: table for t, table in tables.items() if is_additive(t)}
        self.serving = replace(self.serving, tables=additive, routed=False)

    def _good(self) -> Mapping[str, Mapping[str, XdsResource]]:
        return self.last_good.resources if self.last_good is not None else {}

    def _held(self) -> frozenset[int]:
        return frozenset().union(*(progress.held for progress in self._progress.values()))

    def _release(self, now: float) -> bool:
        self._released = False
        served = {self.serving.stamp.generation} if self.serving.routed else set()
        released = self._retention.release(self._held() | served | self._held_elsewhere(), now)
        self._revisions = {g: self._revisions[g] for g in self._retention.generations}
        return released

    def _held_elsewhere(self) -> set[int]:
        """What Envoys of other replicas may be using. What is taken back, others may be serving
        still, and their Envoys begin to use: until they have followed."""
        holds = self.elsewhere.holds
        held = {g for g, revision in self._revisions.items() if revision in holds}
        return held | {self._spoiled} if self._spoiled and self.elsewhere else held

    def _additive(self) -> Mapping[str, Table]:
        """The tables with the additive types renewed; a type once served stays, if empty."""
        resources, old = self.target.resources, self.serving.tables
        types = [t for t in {**old, **resources} if is_additive(t)]
        if self._beside and ENDPOINT not in types:
            types.append(ENDPOINT)
        renewed = {t: self._table(t, self._union(t)) for t in types}
        return {**old, **renewed}

    def _union(self, type_url: str) -> Mapping[str, XdsResource]:
        union = self._retention.union(type_url, self.target.resources)
        return {**union, **self._beside} if self._beside and type_url == ENDPOINT else union

    def _table(self, type_url: str, resources: Mapping[str, XdsResource]) -> Table:
        old = self.serving.tables.get(type_url)
        return old if old is not None and old.resources is resources else Table(resources)

    def _serve(
        self, stamp: Stamp, revision: int, tables: Mapping[str, Table], routed: bool
    ) -> Serving:
        self.serving = Serving(stamp, revision, tables, routed)
        return self.serving


def _next_move(last: Move, revision: int, restoring: bool) -> Move:
    if restoring:
        return last._replace(back=True)
    return Move(revision, last.turn + 1 if revision == last.revision else 1)


def _mark(streams: set[int], stream: int, owing: bool) -> None:
    if owing:
        streams.add(stream)
    else:
        streams.discard(stream)
