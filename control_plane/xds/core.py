"""Ties the pure parts together: streams, switch and ledger, without sockets, tasks or clocks.

Every call that can change what clients must be told ends with all streams up to date and woken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from control_plane.compile.model import Compiled
from control_plane.xds.delta import DeltaRequest
from control_plane.xds.ledger import Ledger
from control_plane.xds.report import Report
from control_plane.xds.roll import Roll
from control_plane.xds.serving import Serving
from control_plane.xds.silence import Silence
from control_plane.xds.sotw import SotwRequest
from control_plane.xds.stream import Node, Stream
from control_plane.xds.subscription import Answer, Response
from control_plane.xds.switch import Refusal, Switch
from control_plane.xds.workers import Workers


class Core:
    """The server's state. Streams are known by the number `join` gives; `now` is in seconds.

    `on_refused` is told of every refusal that takes a target back; it must not call the core. If it
    says so, what was to come next is dropped, too: it was made without knowing of the refusal.
    `replica` is this control plane's name among those that share one etcd: what its nodes are
    reported to be comes out of `report`, what others report goes into `hear`.
    """

    def __init__(
        self,
        *,
        linger: float,
        patience: float,
        on_refused: Callable[[Refusal], bool] = lambda refusal: False,
        replica: str = "",
    ) -> None:
        self._on_refused = on_refused
        self.ledger = Ledger(replica)
        self._linger = linger
        self._roll = Roll()
        self._silence = Silence(patience)
        self._workers = Workers()
        self._inheriting: dict[int, float] = {}  # streams, in the order of time
        self._rejecting: dict[str, int] = {}  # what nodes elsewhere had rejected
        self._news: set[str] = set()
        self._now = 0.0
        self._switch = Switch(linger=linger, patience=patience)
        self._streams: dict[int, Stream] = {}
        self._joined = 0

    @property
    def serving(self) -> Serving:
        return self._switch.serving

    @property
    def last_good(self) -> Compiled | None:
        """The newest that a client has accepted in full."""
        return self._switch.last_good

    @property
    def deadline(self) -> float | None:
        """When `tick` must be called even if nothing happens."""
        inherited = next(iter(self._inheriting.values()), None)
        each = (self._switch.deadline, self._silence.deadline, inherited)
        return min((deadline for deadline in each if deadline is not None), default=None)

    def set_target(self, compiled: Compiled, now: float) -> None:
        self._switch.set_target(compiled)
        self.tick(now)

    def join(self, stream: Stream) -> int:
        self._joined += 1
        self._streams[self._joined] = stream
        if not stream.node.observes:
            stream.keeps = self._linger > 0
            self.ledger.join(self._joined, stream)
            self._news.add(stream.node.id)
            if self._workers.join(self._joined, stream.node):
                self._switch.serve_beside(self._workers.resources)
        return self._joined

    def is_taken(self, node: Node) -> bool:
        """Whether a node that is connected has this id, and is another: its workers are others."""
        each = (self._streams[number].node for number in self.ledger.streams(node.id))
        return not node.observes and any(known.workers != node.workers for known in each)

    def leave(self, number: int, now: float) -> None:
        stream = self._streams.pop(number)
        if stream.node.observes:
            return
        self.ledger.leave(number, stream)
        self._switch.leave(number)
        self._roll.leave(number)
        self._silence.forget(number)
        self._inheriting.pop(number, None)
        self._news.add(stream.node.id)
        if self._workers.leave(number, stream.node):
            self._switch.serve_beside(self._workers.resources)
        self.tick(now)

    def expect_reports(self) -> None:
        """Other replicas may be there: nothing is certain before `hear` was told all of theirs."""
        self.ledger.expected = self._switch.elsewhere.expected = True

    def hear(self, reports: Mapping[str, Report | None], now: float, *, complete: bool) -> None:
        """What other replicas say of nodes now, or None of those of which they say nothing more.

        `complete`: with what was told before it is all that there is.
        """
        for name, report in reports.items():
            self._switch.hear(name, report)
            self.ledger.hear(name, report)
            self._rejecting.pop(name, None)
            if report is not None:
                self._hear(report)
        if complete:
            self.ledger.expected = self._switch.elsewhere.expected = False
        self.tick(now)

    def report(self, node: str) -> Report | None:
        """What other replicas are to be told of a node; None if it is not connected here."""
        return self.ledger.report(node, self._roll.of(self.ledger.streams(node)))

    @property
    def has_news(self) -> bool:
        return bool(self._news)

    def take_news(self) -> set[str]:
        """The nodes of which there may be something new to report since this was asked last."""
        news, self._news = self._news, set()
        return news

    def request(
        self, number: int, type_url: str, request: SotwRequest | DeltaRequest, now: float
    ) -> None:
        """Takes one request of a stream; the response comes out of `next`.

        Raises:
            TooMuch: the client asks for more than one stream may.
        """
        stream, self._now = self._streams[number], now
        answer = stream.request(type_url, request, self.serving)
        self._silence.answered(number, now)
        if stream.inherits:
            self._inheriting.setdefault(number, now + self._linger)
        if answer is not None and answer.error and not stream.node.observes:
            self._refuse(stream, type_url, answer)
        self._observe(number, stream)
        self.tick(now)
        stream.wake()

    def next(self, number: int) -> Response | None:
        """The next response for a stream, to be called until it gives None."""
        return self._streams[number].next(self.serving)

    def tick(self, now: float) -> None:
        """Lets the switch take every step that is due."""
        self._now = now
        self._disinherit(now)
        for number in self._silence.tick(now):
            self._listen(number, self._streams[number], owing=True)
        self._heed()
        while (old := self.serving) is not (new := self._switch.advance(now) or old):
            if new.stamp.epoch != old.stamp.epoch:
                self.ledger.attempt(new, self._switch.target.revision)
            self._serve(old, new)
            self._heed()

    def _serve(self, old: Serving, new: Serving) -> None:
        """Tells every stream what changed; compared once, whatever the number of streams."""
        self.ledger.serve(new)
        changed = {
            type_url: table.changed_since(old.tables.get(type_url))
            for type_url, table in new.tables.items()
            if table is not old.tables.get(type_url)
        }
        for number, stream in self._streams.items():
            stream.serve(old, new, changed)
            self._observe(number, stream)
            stream.wake()

    def _observe(self, number: int, stream: Stream) -> None:
        if stream.node.observes:
            return
        switch, progress = self._switch, stream.progress(self.serving)
        switch.observe(number, progress)
        applied = self.ledger.observe(number, stream)
        at = switch.move, switch.phase
        if self._roll.observe(number, progress, at, switch.revisions) or applied:
            self._news.add(stream.node.id)
        owing = progress.owes_additive or progress.owes_routes
        self._silence.observe(number, owing, self._now)
        self._listen(number, stream, owing)

    def _listen(self, number: int, stream: Stream, owing: bool) -> None:
        """A node is as silent as its newest stream; one that has just joined, as before."""
        node, silent = stream.node.id, number in self._silence.silent
        if number != max(self.ledger.streams(node)) or (owing and not silent):
            return
        if self.ledger.is_silent(node) != silent:
            self.ledger.hush(node, silent)
            self._news.add(node)
        self._hush(node, silent)

    def _hear(self, report: Report) -> None:
        """One report."""
        if report.rejects:
            self._rejecting[report.node] = report.rejects
        follows = report.connected and report.added >= self.serving.revision
        if not self.ledger.streams(report.node) and (report.silent or follows):
            self._hush(report.node, report.silent)

    def _hush(self, node: str, silent: bool) -> None:
        if self._workers.hear(node, silent):
            self._switch.serve_beside(self._workers.resources)

    def _heed(self) -> None:
        """What a node elsewhere had rejected is not tried here either."""
        move = self._switch.move
        if move.back or move.turn != 1 or move.revision not in self._rejecting.values():
            return
        if self._switch.refuse(self.serving.stamp):
            self.ledger.reject(self.serving.stamp)

    def _disinherit(self, now: float) -> None:
        for number, until in list(self._inheriting.items()):
            if until > now:
                break
            del self._inheriting[number]
            self._streams[number].disinherit()
            self._streams[number].wake()

    def _refuse(self, stream: Stream, type_url: str, answer: Answer) -> None:
        """Notes a NACK; a late one counts against what is served now if that is still the same."""
        self._switch.distrust(answer.stamp)
        stamp = self.serving.stamp if answer.still_served else answer.stamp
        rejected = self._switch.refuse(stamp)
        self.ledger.refuse(stream, stamp, answer.error, rejected=rejected)
        self._news.add(stream.node.id)
        if rejected:
            node, target, last = stream.node.id, self._switch.target, self._switch.last_good
            names = answer.names, answer.named
            if self._on_refused(Refusal(node, type_url, *names, answer.error, target, last)):
                self._switch.drop_next()
