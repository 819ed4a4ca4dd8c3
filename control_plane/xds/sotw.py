"""State of the world: the client names all that it wants in every request.

Listeners and clusters are always sent in full, and absence means deletion; of the other types only
what changed is sent, and nothing can be deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from control_plane.compile.model import CLUSTER, LISTENER
from control_plane.xds.serving import Stamp, Table, version_of
from control_plane.xds.subscription import UNKNOWN, WILDCARD, Answer, Response, Subscription

FULL_STATE = frozenset({LISTENER, CLUSTER})


@dataclass(frozen=True, slots=True)
class SotwRequest:
    """The parts of a `DiscoveryRequest` that concern one type; `error` is None in an ACK."""

    names: frozenset[str] = frozenset()
    version: str = ""
    nonce: str = ""
    error: str | None = None


class SotwSubscription(Subscription):
    """The state of one type on one state-of-the-world stream."""

    def __init__(self, type_url: str) -> None:
        super().__init__(type_url)
        self.full_state = type_url in FULL_STATE
        self._named = False  # it has named something once, so an empty list is no wildcard any more
        self._requested = False
        self._offered = ""  # version_info of the first request

    def request(self, request: SotwRequest, table: Table | None) -> Answer | None:
        """Takes one request. A stale one is ignored: the answer to the newer response follows."""
        if self.is_stale(request.nonce):
            return None
        answer = self._answered(request.nonce, request.error, table)
        if not self.full_state:
            self._forget_gone()
        first, self._requested = not self._requested, True
        self._want(request.names, table)
        self._first_due = self.wildcard and (first or self._first_due)
        if first:
            self._offered = request.version
            self._resume(table)
        return answer

    def touch(self, changed: Set[str], table: Table) -> None:
        super().touch(changed, table)
        if not self.full_state:
            self._forget_gone()  # there is no way to say that one of these is gone
            self._forgive()

    def appear(self, table: Table) -> None:
        super().appear(table)
        self._resume(table)

    def owes(self, table: Table | None) -> bool:
        if table is None:
            return False
        return bool(self.sent or self.due or self._first_due or (self.full_state and self.gone))

    def next(
        self, table: Table | None, stamp: Stamp, nonce: str, removals: bool
    ) -> Response | None:
        if table is None or self.sent or not self.owes(table):
            return None
        names = sorted(self._visible(table) if self.full_state else self.due)
        resources = tuple(table.resources[name] for name in names)
        self._forget_gone()
        return self._send(nonce, self._version(table), stamp, resources)

    def _want(self, names: frozenset[str], table: Table | None) -> None:
        """The set of names becomes exactly this; what is new is sent even if it was sent before."""
        self._named = self._named or bool(names)
        legacy = self.full_state and not self._named
        wildcard, wanted = legacy or WILDCARD in names, names - {WILDCARD}
        new: Iterable[str] = wanted - self.names
        if wildcard and not self.wildcard and table is not None:
            new = table.resources.keys() | wanted
        self.wildcard, self.names = wildcard, set()
        self._add_names(wanted)
        if not wildcard:
            self._forget((self.has.keys() | self.due | self.gone) - wanted)
        self._doubt(new)
        if table is not None:
            for name in new:
                self._look(name, table)

    def _resume(self, table: Table | None) -> None:
        """A client that comes back with what is served already need not be sent it again.

        Safe for a sole wildcard only: the version says nothing about newly named resources.
        """
        if table is None or self.names or not self._first_due or not self.full_state:
            return
        if self._offered == table.version:
            self.has = {name: resource.version for name, resource in table.resources.items()}
            self.due.clear()
            self._first_due = False
            self.version = self._offered

    def _forgive(self) -> None:
        """What it refused is served no more, and it has all the rest: nothing will be sent to it,
        so nothing else can end the error."""
        if self.error and not self.due and UNKNOWN not in self.has.values():
            self.error = ""

    def _forget_gone(self) -> None:
        for name in self.gone:
            self.has.pop(name, None)
        self.gone.clear()

    def _version(self, table: Table) -> str:
        if self.wildcard:
            return table.version
        return version_of(table.resources[name] for name in self._visible(table))
