"""Ties the pure parts together: streams, switch and ledger, without sockets, tasks or clocks.

Every call that can change what clients must be told ends with all streams up to date and woken.
"""

from __future__ import annotations

from collections.abc import Callable

from control_plane.compile.model import Compiled
from control_plane.xds.delta import DeltaRequest
from control_plane.xds.ledger import Ledger
from control_plane.xds.serving import Serving
from control_plane.xds.sotw import SotwRequest
from control_plane.xds.stream import Stream
from control_plane.xds.subscription import Answer, Response
from control_plane.xds.switch import Refusal, Switch


class Core:
    """The server's state. Streams are known by the number `join` gives; `now` is in seconds.

    `on_refused` is told of every refusal that takes a target back; it must not call the core. If it
    says so, what was to come next is dropped, too: it was made without knowing of the refusal.
    """

    def __init__(
        self,
        *,
        linger: float,
        patience: float,
        on_refused: Callable[[Refusal], bool] = lambda refusal: False,
    ) -> None:
        self._on_refused = on_refused
        self.ledger = Ledger()
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
        return self._switch.deadline

    def set_target(self, compiled: Compiled, now: float) -> None:
        self._switch.set_target(compiled)
        self.tick(now)

    def join(self, stream: Stream) -> int:
        self._joined += 1
        self._streams[self._joined] = stream
        if not stream.node.observes:
            self.ledger.join(self._joined, stream)
        return self._joined

    def leave(self, number: int, now: float) -> None:
        stream = self._streams.pop(number)
        if stream.node.observes:
            return
        self.ledger.leave(number, stream)
        self._switch.leave(number)
        self.tick(now)

    def request(
        self, number: int, type_url: str, request: SotwRequest | DeltaRequest, now: float
    ) -> None:
        """Takes one request of a stream; the response comes out of `next`.

        Raises:
            TooMuch: the client asks for more than one stream may.
        """
        stream = self._streams[number]
        answer = stream.request(type_url, request, self.serving)
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
        while (old := self.serving) is not (new := self._switch.advance(now) or old):
            if new.stamp.epoch != old.stamp.epoch:
                self.ledger.attempt(new, self._switch.target.revision)
            self._serve(old, new)

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
        self._switch.observe(number, stream.progress(self.serving))
        self.ledger.observe(number, stream)

    def _refuse(self, stream: Stream, type_url: str, answer: Answer) -> None:
        """Notes a NACK; a late one counts against what is served now if that is still the same."""
        self._switch.distrust(answer.stamp)
        stamp = self.serving.stamp if answer.still_served else answer.stamp
        rejected = self._switch.refuse(stamp)
        self.ledger.refuse(stream, stamp, answer.error, rejected=rejected)
        if rejected:
            node, target, last = stream.node.id, self._switch.target, self._switch.last_good
            names = answer.names, answer.named
            if self._on_refused(Refusal(node, type_url, *names, answer.error, target, last)):
                self._switch.drop_next()
