"""One ADS stream: the subscriptions on it, and the order in which their responses go out.

Make before break holds on every stream by itself, whatever the other nodes do: clusters, endpoints,
secrets and plans go first; listeners and routes only when the client has answered all of those;
what is gone is taken away only after that. (So a client that comes back after a long absence is
moved from any old state to the newest without a gap.)

A cluster that changes warms, and that ends only with endpoints that are sent after it: so they are
sent again, changed or not.

Source: "Eventual consistency considerations" and "Resource warming" of the xDS protocol document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Literal, NamedTuple

from control_plane.compile.model import CLUSTER, ENDPOINT, LISTENER, ROUTE, TYPES
from control_plane.xds.delta import DeltaRequest, DeltaSubscription
from control_plane.xds.errors import TooMuch
from control_plane.xds.serving import Serving, Table, in_send_order, is_additive
from control_plane.xds.sotw import SotwRequest, SotwSubscription
from control_plane.xds.subscription import Answer, Response, Subscription

Variant = Literal["sotw", "delta"]
MAX_TYPES = 64
OBSERVER = "naru-failover"
"""The cluster of nodes that only follow: they use nothing, so nobody waits for them."""
_EMPTY = Table({})


class Worker(NamedTuple):
    """An ext_proc worker beside an Envoy: its node id, and its socket's path."""

    id: str
    path: str


@dataclass(frozen=True, slots=True)
class Node:
    """Who is at the other end: `core.v3.Node`, as far as it is shown to people.

    `workers` are those that an Envoy has beside it; None if it does not ask us for them.
    """

    id: str
    cluster: str = ""
    user_agent: str = ""
    workers: tuple[Worker, ...] | None = None

    @property
    def observes(self) -> bool:
        """Whether it gets everything and counts for nothing."""
        return self.cluster == OBSERVER


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one stream has come with what is served.

    `held` are the generations of routes that it may be using; `confirmed` is the one that it has
    accepted in full, None if there is none or it asks for no routes.
    """

    owes_additive: bool
    owes_routes: bool
    held: frozenset[int]
    confirmed: int | None


class Stream:
    """The state of one aggregated stream; `wake` is called when there may be something to send."""

    def __init__(self, node: Node, variant: Variant, wake: Callable[[], None]) -> None:
        self.node = node
        self.variant = variant
        self.wake = wake
        self.keeps = False
        """What the client brings along and nobody serves, it keeps until `disinherit`."""
        self._subscriptions: dict[str, Subscription] = {}
        self._additive: tuple[Subscription, ...] = ()  # both in the order of sending
        self._routing: tuple[Subscription, ...] = ()
        self._nonces = 0

    @property
    def subscriptions(self) -> Mapping[str, Subscription]:
        return self._subscriptions

    def request(
        self, type_url: str, request: SotwRequest | DeltaRequest, serving: Serving
    ) -> Answer | None:
        """Takes one request; the response to it, if any, comes out of `next`."""
        subscription, table = self._subscription(type_url), _table(serving, type_url)
        match subscription, request:
            case SotwSubscription(), SotwRequest():
                answer = subscription.request(request, table)
            case DeltaSubscription(), DeltaRequest():
                answer = subscription.request(request, table)
                if self.keeps and request.initial and is_additive(type_url):
                    subscription.inherit(request.initial, table)
            case _:
                raise TypeError(f"a {type(request).__name__} on a {self.variant} stream")
        self._settle(serving)
        return answer

    def serve(self, old: Serving, new: Serving, changed: Mapping[str, Set[str]]) -> None:
        """What is served changed: `changed` names, by type."""
        for type_url, names in changed.items():
            subscription = self._subscriptions.get(type_url)
            if subscription is not None and type_url in old.tables:
                subscription.touch(names, new.tables[type_url])
            elif subscription is not None:
                subscription.appear(new.tables[type_url])
        self._settle(new)

    def next(self, serving: Serving) -> Response | None:
        """The next response to send; call it again until it gives None."""
        response = self._first(self._additive, serving, removals=False)
        if response is None and not _owes(self._additive, serving):
            response = self._first(self._routing, serving, removals=True)
        if response is None and self._may_remove(serving):
            response = self._first(self._additive, serving, removals=True)
        return response

    @property
    def inherits(self) -> bool:
        """Whether it has brought anything along that this server does not know (yet)."""
        return any(s.inherited for s in self._additive)

    def disinherit(self) -> None:
        """Long enough: what nobody has served since it came may be taken away."""
        for subscription in self._additive:
            subscription.inherited.clear()

    def progress(self, serving: Serving) -> Progress:
        stamps = (stamp for s in self._routing for stamp in (s.confirmed, s.latest))
        return Progress(
            owes_additive=_owes(self._additive, serving),
            owes_routes=_owes(self._routing, serving),
            held=frozenset(stamp.generation for stamp in stamps if stamp is not None),
            confirmed=self._confirmed(serving),
        )

    def _subscription(self, type_url: str) -> Subscription:
        subscription = self._subscriptions.get(type_url)
        if subscription is None:
            if len(self._subscriptions) >= MAX_TYPES:
                raise TooMuch("types", MAX_TYPES)
            make = SotwSubscription if self.variant == "sotw" else DeltaSubscription
            subscription = self._subscriptions[type_url] = make(type_url)
            order = in_send_order(self._subscriptions)
            self._additive = tuple(self._subscriptions[t] for t in order if is_additive(t))
            self._routing = tuple(self._subscriptions[t] for t in order if not is_additive(t))
        return subscription

    def _first(
        self, subscriptions: Iterable[Subscription], serving: Serving, removals: bool
    ) -> Response | None:
        for subscription in subscriptions:
            table, due = _table(serving, subscription.type_url), subscription.due
            due = set(due) if subscription.type_url == CLUSTER else due
            nonce = f"{self._nonces + 1:x}"
            if response := subscription.next(table, serving.stamp, nonce, removals):
                self._nonces += 1
                if subscription.type_url == CLUSTER:
                    self._warm(due - subscription.due, serving)
                return response
        return None

    def _warm(self, clusters: Set[str], serving: Serving) -> None:
        """These have been sent. (A cluster of ours has the name of its endpoints.)"""
        subscription, table = self._subscriptions.get(ENDPOINT), serving.tables.get(ENDPOINT)
        if subscription is not None and table is not None:
            subscription.repeat(clusters & table.resources.keys(), table)

    def _may_remove(self, serving: Serving) -> bool:
        """Nothing is taken away while old routes may still name it."""
        settled = not any(is_pending(s, serving) for s in self._routing)
        return settled and serving.routed

    def _confirmed(self, serving: Serving) -> int | None:
        decisive = self._decisive(serving)
        if decisive is None or decisive.error or decisive.confirmed is None:
            return None
        return decisive.confirmed.generation

    def _decisive(self, serving: Serving) -> Subscription | None:
        """The subscription that shows which routes a client uses."""
        routes = serving.tables.get(ROUTE)
        return self._subscriptions.get(ROUTE if routes and routes.resources else LISTENER)

    def _settle(self, serving: Serving) -> None:
        """Nothing to send for the new routes: then what the client has is what they are.

        Only all together: a listener that is the same under old and new routes tells nothing.
        """
        if not serving.routed or self._decisive(serving) is None:
            return
        if not any(s.error or is_pending(s, serving) for s in self._routing):
            for subscription in self._routing:
                subscription.settle(serving.stamp)


def _table(serving: Serving, type_url: str) -> Table | None:
    """None as long as it is not known what there is. Of types that are not ours there is nothing,
    and a client that waits for one (at its start, say) is told so."""
    known = type_url in TYPES or not serving.stamp.epoch
    return serving.tables.get(type_url, None if known else _EMPTY)


def is_pending(subscription: Subscription, serving: Serving) -> bool:
    """Whether anything has yet to be sent or answered, removals included."""
    if subscription.type_url not in serving.tables:
        return False
    gone = subscription.gone - subscription.inherited
    return bool(subscription.sent or gone) or _owes((subscription,), serving)


def _owes(subscriptions: Iterable[Subscription], serving: Serving) -> bool:
    return any(s.owes(serving.tables.get(s.type_url)) for s in subscriptions)
