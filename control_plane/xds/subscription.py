"""One client's subscription to one type on one stream: what both protocol variants share.

Pure state: requests in, responses out, no I/O. `sotw.py` and `delta.py` add what differs. It holds
state, not a queue: at most one response is out, and what changes meanwhile is a set of names, so a
slow client costs no memory and gets the newest state when its ACK arrives.

A refused (NACKed) version is not sent again until it changes, or goes and comes back.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from control_plane.compile.model import SECRET, XdsResource
from control_plane.xds.errors import TooMuch
from control_plane.xds.serving import Stamp, Table

WILDCARD = "*"
UNKNOWN = "?"
"""In `has`, instead of a version: the client may have any, or none."""
MAX_NAMES = 100_000
MAX_ERROR_TEXT = 4096


@dataclass(frozen=True, slots=True)
class Response:
    """One discovery response, of either variant. `removed` stays empty in state of the world."""

    type_url: str
    nonce: str
    version: str
    resources: tuple[XdsResource, ...] = field(repr=False)
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The client's ACK, or its NACK if `error` is not empty, of the response with this stamp.

    `still_served`, of a NACK: all that was in the response is served to this day. `names`: what was
    in it; `named`: those of them that the client's words name.
    """

    stamp: Stamp
    error: str
    still_served: bool
    names: tuple[str, ...] = ()
    named: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sent:
    """The response that is out."""

    nonce: str
    version: str
    stamp: Stamp
    resources: tuple[XdsResource, ...] = field(repr=False)


class Subscription(ABC):
    """What the client asks for, what it has, and what it still has to be told.

    `has` maps a name to the version last sent. `due` are names whose content must be sent, `gone`
    names that the client has, or asked for, and that do not exist. `inherited` are names that it
    has brought along and that have not been served since: another control plane may serve them
    still, and somebody use them, so they are not taken away at once.
    """

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self.wildcard = False
        self.names: set[str] = set()
        self.has: dict[str, str] = {}
        self.due: set[str] = set()
        self.gone: set[str] = set()
        self.inherited: set[str] = set()
        self.sent: Sent | None = None
        self.version = ""  # last acknowledged
        self.error = ""  # of the last answer
        self.confirmed: Stamp | None = None  # the client has, and accepted, all of that moment
        self.latest: Stamp | None = None  # of the last response, whatever became of it
        self._nonce = ""
        self._first_due = False  # even an empty answer tells a wildcard client that it is complete

    @abstractmethod
    def owes(self, table: Table | None) -> bool:
        """Whether the client has not yet acknowledged all that it must know (removals apart)."""

    @abstractmethod
    def next(
        self, table: Table | None, stamp: Stamp, nonce: str, removals: bool
    ) -> Response | None:
        """The response to send now, if any; `removals` says whether names may be taken away."""

    def touch(self, changed: Set[str], table: Table) -> None:
        """Names changed in the table: O(changed)."""
        for name in changed if self.wildcard else changed & self.names:
            self._look(name, table)

    def appear(self, table: Table) -> None:
        """The type is served for the first time; the client may have kept names of earlier days."""
        self.touch(table.resources.keys() | self.has.keys(), table)

    def inherit(self, names: Iterable[str], table: Table | None) -> None:
        """The client has brought these along from an earlier stream."""
        served = table.resources if table is not None else {}
        self.inherited = {name for name in names if name in self.has and name not in served}

    def repeat(self, names: Iterable[str], table: Table) -> None:
        """The client needs these once more, as far as it asks for them: what names them changed."""
        again = names if self.wildcard else self.names.intersection(names)
        self._doubt(again)
        for name in again:
            self._look(name, table)

    def settle(self, stamp: Stamp) -> None:
        """Nothing had to be sent for `stamp`: what the client has is what it would have got."""
        if self.has:
            self.confirmed = self.latest = stamp

    def is_stale(self, nonce: str) -> bool:
        """The stale-nonce rule, in its only place: the request answers not the last response.

        A request without a nonce is spontaneous, and before the first response of a stream no nonce
        can be stale (a client may still show one of an earlier stream).
        """
        return bool(nonce and self._nonce) and nonce != self._nonce

    def _answered(self, nonce: str, error: str | None, table: Table | None) -> Answer | None:
        """Takes the request as the answer to what is out, if it is one."""
        if self.sent is None or nonce != self.sent.nonce:
            return None
        sent, self.sent = self.sent, None
        self._remember(sent, table)
        self.error = "" if error is None else self._words(error)
        if not self.error:
            self.version, self.confirmed = sent.version, sent.stamp
            return Answer(sent.stamp, "", still_served=True)
        self._doubt(resource.name for resource in sent.resources)
        names = tuple(resource.name for resource in sent.resources)
        named = tuple(name for name in names if error and _is_in(name, error))
        return Answer(sent.stamp, self.error, _still_served(sent, table), names, named)

    def _remember(self, sent: Sent, table: Table | None) -> None:
        """It unsubscribed and subscribed again while this was out: what has gone meanwhile was
        forgotten here, and yet the client may have taken it."""
        if table is None:
            return
        for resource in sent.resources:
            name = resource.name
            missing = name not in self.has and name not in table.resources
            if missing and (self.wildcard or name in self.names):
                self.has[name] = UNKNOWN
                self.gone.add(name)

    def _words(self, error: str) -> str:
        """The client's reason. Envoy quotes what it refuses, so of a secret nothing is kept."""
        if self.type_url == SECRET:
            return "refused a secret; the reason is not kept because it may quote the secret"
        return error[:MAX_ERROR_TEXT] or "refused without a reason"

    def _look(self, name: str, table: Table) -> None:
        """Decides what the client must be told about a name that it asks for."""
        resource = table.resources.get(name)
        self.due.discard(name)
        if resource is None:
            if name in self.has:
                self.gone.add(name)
            return
        self.gone.discard(name)
        self.inherited.discard(name)
        if self.has.get(name) != resource.version:
            self.due.add(name)

    def _doubt(self, names: Iterable[str]) -> None:
        """These are sent again, whatever their version, as soon as they are looked at."""
        self.has.update((name, UNKNOWN) for name in names if name in self.has)

    def _forget(self, names: Iterable[str]) -> None:
        """The client asks for these no longer."""
        for name in names:
            self.has.pop(name, None)
            self.due.discard(name)
            self.gone.discard(name)
            self.inherited.discard(name)

    def _add_names(self, names: Iterable[str]) -> None:
        self.names.update(names)
        if len(self.names) > MAX_NAMES:
            raise TooMuch("names of a type", MAX_NAMES)

    def _visible(self, table: Table) -> Iterable[str]:
        return table.resources if self.wildcard else self.names & table.resources.keys()

    def _send(
        self,
        nonce: str,
        version: str,
        stamp: Stamp,
        resources: tuple[XdsResource, ...],
        removed: tuple[str, ...] = (),
    ) -> Response:
        self._nonce, self._first_due = nonce, False
        self.sent, self.latest = Sent(nonce, version, stamp, resources), stamp
        for resource in resources:
            self.has[resource.name] = resource.version
            self.due.discard(resource.name)
        return Response(self.type_url, nonce, version, resources, removed)


def _is_in(name: str, words: str) -> bool:
    """Whether the words hold the name, not only as a part of a longer one."""
    parts = words.split(name)
    return any(
        not (before[-1:].isalnum() or before[-1:] == "-" or after[:1].isalnum())
        for before, after in itertools.pairwise(parts)
    )


def _still_served(sent: Sent, table: Table | None) -> bool:
    if table is None or not sent.resources:
        return False
    return all(table.resources.get(resource.name) == resource for resource in sent.resources)
