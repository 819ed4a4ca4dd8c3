"""Incremental xDS: both sides say only what changed.

A nonce pairs an ACK or NACK with its response and nothing more: a change of the subscription is
honoured even if the nonce is stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest

from control_plane.compile.model import XdsResource
from control_plane.xds.serving import Stamp, Table
from control_plane.xds.subscription import WILDCARD, Answer, Response, Subscription

MAX_BATCH = 2 * 1024 * 1024
"""Bytes of resources in one response; the rest follows the ACK (gRPC clients refuse > 4 MiB)."""
MOST_RESOURCES = 500
"""In one response: a worker compiles plans between two requests, and must not be away for long."""


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """The parts of a `DeltaDiscoveryRequest` that concern one type; `error` is None in an ACK."""

    subscribe: frozenset[str] = frozenset()
    unsubscribe: frozenset[str] = frozenset()
    initial: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str | None = None


class DeltaSubscription(Subscription):
    """The state of one type on one incremental stream."""

    def __init__(self, type_url: str, max_batch: int = MAX_BATCH) -> None:
        super().__init__(type_url)
        self._max_batch = max_batch
        self._requested = False

    def request(self, request: DeltaRequest, table: Table | None) -> Answer | None:
        """Takes one request: an answer, a change of the subscription, or both."""
        answer = self._answered(request.nonce, request.error, table)
        if not self._requested:
            self._requested = True
            self._begin(request, table)
        else:
            self._subscribe(request.subscribe, table)
        self._unsubscribe(request.unsubscribe, table)
        return answer

    def owes(self, table: Table | None) -> bool:
        return table is not None and bool(self.sent or self.due or self._first_due)

    def next(
        self, table: Table | None, stamp: Stamp, nonce: str, removals: bool
    ) -> Response | None:
        if table is None or self.sent:
            return None
        # A client that never had a name loses nothing by hearing at once that it does not exist.
        names = self.gone - (self.inherited if removals else self.has.keys())
        gone = tuple(nsmallest(MOST_RESOURCES, names))
        if not (self.due or gone or self._first_due):
            return None
        resources = self._batch(table)
        self._forget(gone)
        return self._send(nonce, f"{stamp.epoch}.{stamp.generation}", stamp, resources, gone)

    def _begin(self, request: DeltaRequest, table: Table | None) -> None:
        """The first request of a stream: what the client kept from an earlier one is not resent."""
        names = request.subscribe - {WILDCARD}
        legacy = not request.subscribe and not request.unsubscribe
        self.wildcard = legacy or WILDCARD in request.subscribe
        self._add_names(names)
        kept = request.initial.items()
        self.has = {name: version for name, version in kept if self.wildcard or name in names}
        self._first_due = self.wildcard and not self.has
        self._look_all(self.has.keys() | names, names, table)
        if self.wildcard and table is not None:
            self.touch(table.resources.keys(), table)

    def _subscribe(self, subscribe: frozenset[str], table: Table | None) -> None:
        """The client may have forgotten what it asks for again: it is always sent."""
        names = subscribe - {WILDCARD}
        self._add_names(names)
        again: Iterable[str] = names
        if WILDCARD in subscribe:
            self.wildcard = True
            again = names | (table.resources.keys() if table is not None else set())
        self._doubt(again)
        self._look_all(again, names, table)

    def _unsubscribe(self, unsubscribe: frozenset[str], table: Table | None) -> None:
        dropped = self.names & unsubscribe
        self.names -= dropped
        if WILDCARD in unsubscribe:
            self.wildcard = self._first_due = False
            self._forget((self.has.keys() | self.due | self.gone) - self.names)
        elif self.wildcard:
            # The client cannot know whether the wildcard still covers the name: it must be told.
            self._doubt(dropped)
            self._look_all(dropped, dropped, table)
        else:
            self._forget(dropped)

    def _look_all(self, names: Iterable[str], asked: Iterable[str], table: Table | None) -> None:
        """Looks names up; one that was asked for and does not exist is answered as removed."""
        if table is None:
            self.gone.update(asked)  # until the type appears
            return
        self.gone.update(name for name in asked if name not in table.resources)
        for name in names:
            self._look(name, table)

    def _batch(self, table: Table) -> tuple[XdsResource, ...]:
        """As much of what is due as fits into one response, at least one resource."""
        batch: list[XdsResource] = []
        size = 0
        for name in nsmallest(MOST_RESOURCES, self.due):
            resource = table.resources[name]
            size += len(resource.body)
            if batch and size > self._max_batch:
                break
            batch.append(resource)
        return tuple(batch)
