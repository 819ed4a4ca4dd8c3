"""xDS clients in memory: they join a `Core`, and act only when the test says so.

Each keeps a cache as a real client does, and answers what it gets with an ACK, or with a NACK if a
resource's body starts with `bad`. What the server sends waits in `inbox` until `answer`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from control_plane.compile.model import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    PLAN,
    ROUTE,
    SECRET,
    Compiled,
    XdsResource,
    digest,
)
from control_plane.xds.core import Core
from control_plane.xds.delta import DeltaRequest
from control_plane.xds.sotw import FULL_STATE, SotwRequest
from control_plane.xds.stream import Node, Stream, Variant
from control_plane.xds.subscription import Response

ROUTES = "routes"


def resource(type_url: str, name: str, body: str = "") -> XdsResource:
    data = (body or name).encode()
    return XdsResource(type_url, name, digest(data), data)


def target(revision: int, *resources: XdsResource) -> Compiled:
    tables: dict[str, dict[str, XdsResource]] = {}
    for each in resources:
        tables.setdefault(each.type_url, {})[each.name] = each
    return Compiled(revision, tables)


def proxies(revision: int, *wirings: str, edit: str = "", bad: Iterable[str] = ()) -> Compiled:
    """What proxies compile to: per wiring a cluster, its endpoints and a plan; `edit` is content.

    The body of the routes is the list of the wirings, so that a test can tell what they need.
    """
    resources = [
        resource(LISTENER, "front"),
        resource(ROUTE, ROUTES, " ".join(sorted(wirings)) or "none"),
        resource(SECRET, "key", f"secret {edit}"),
    ]
    for name in wirings:
        body = f"bad {name}" if name in bad else name
        resources += [resource(CLUSTER, name, body), resource(ENDPOINT, name)]
        resources.append(resource(PLAN, name, f"plan {name} {edit}"))
    return target(revision, *resources)


class Client:
    """One client of one variant; subclasses say what it asks for."""

    def __init__(self, core: Core, name: str, variant: Variant, cluster: str = "") -> None:
        self.core, self.node, self.variant = core, Node(name, cluster), variant
        self.cache: dict[str, dict[str, XdsResource]] = {}
        self.number = 0
        self.now = 0.0
        self.join()

    def join(self) -> None:
        """Opens a stream; what the cache holds is offered again."""
        self.inbox: list[Response] = []
        self.nonces: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.asked: dict[str, frozenset[str]] = {}
        self.number = self.core.join(Stream(self.node, self.variant, lambda: None))
        self.begin()

    def leave(self) -> None:
        self.core.leave(self.number, self.now)

    def begin(self) -> None:
        raise NotImplementedError

    def learn(self, type_url: str) -> None:
        """Something of this type has been accepted: perhaps more is asked for."""

    def ask(self, type_url: str, *names: str) -> None:
        """From now on exactly these names are asked for."""
        before, self.asked[type_url] = self.asked.get(type_url), frozenset(names)
        if self.variant == "sotw":
            self._send(type_url, self._sotw(type_url))
            return
        cache = self.cache.get(type_url, {})
        initial = {name: held.version for name, held in cache.items()} if before is None else {}
        added = frozenset(names) - (before or frozenset())
        removed = (before or frozenset()) - frozenset(names)
        self._send(type_url, DeltaRequest(added, removed, initial))

    def deliver(self) -> int:
        """Takes everything that the server wants to send now."""
        count = 0
        while (response := self.core.next(self.number)) is not None:
            self.inbox.append(response)
            count += 1
        return count

    def answer(self) -> Response:
        """Handles the oldest response: applies it and ACKs, or NACKs."""
        response = self.inbox.pop(0)
        assert len({r.name for r in response.resources}) == len(response.resources)
        self.nonces[response.type_url] = response.nonce
        bad = [r.name for r in response.resources if r.body.startswith(b"bad")]
        if bad:  # what is good in it is applied all the same, as Envoy does
            self._apply(response)
            self.learn(response.type_url)
            self._send(response.type_url, self._reply(response, f"{bad[0]} is bad"))
            return response
        self.versions[response.type_url] = response.version
        self._apply(response)
        self.learn(response.type_url)
        self._send(response.type_url, self._reply(response, None))
        return response

    def drain(self) -> None:
        """Takes and answers until the server has nothing more to say."""
        while self.deliver() or self.inbox:
            self.answer()

    def names(self, type_url: str) -> set[str]:
        return set(self.cache.get(type_url, {}))

    def bodies(self, type_url: str) -> Mapping[str, str]:
        return {name: r.body.decode() for name, r in self.cache.get(type_url, {}).items()}

    def _apply(self, response: Response) -> None:
        cache = self.cache.setdefault(response.type_url, {})
        if self.variant == "sotw" and response.type_url in FULL_STATE:
            cache.clear()
        cache.update((r.name, r) for r in response.resources if not r.body.startswith(b"bad"))
        for name in response.removed:
            cache.pop(name, None)

    def _reply(self, response: Response, error: str | None) -> SotwRequest | DeltaRequest:
        if self.variant == "sotw":
            return self._sotw(response.type_url, error)
        return DeltaRequest(nonce=response.nonce, error=error)

    def _sotw(self, type_url: str, error: str | None = None) -> SotwRequest:
        version, nonce = self.versions.get(type_url, ""), self.nonces.get(type_url, "")
        return SotwRequest(self.asked.get(type_url, frozenset()), version, nonce, error)

    def _send(self, type_url: str, request: SotwRequest | DeltaRequest) -> None:
        self.core.request(self.number, type_url, request, self.now)


class EnvoyClient(Client):
    """Asks as Envoy does: clusters and listeners by wildcard, the rest as it is named by those."""

    def begin(self) -> None:
        self.ask(CLUSTER)
        if self.names(CLUSTER):
            self.learn(CLUSTER)
        if self.names(LISTENER):
            self.ask(LISTENER)
            self.ask(ROUTE, ROUTES)

    def learn(self, type_url: str) -> None:
        if type_url == CLUSTER:
            self._follow_clusters()
            if LISTENER not in self.asked:
                self.ask(LISTENER)
        if type_url == LISTENER and ROUTE not in self.asked:
            self.ask(ROUTE, ROUTES)

    def needs(self) -> set[str]:
        """The wirings that the routes in use name."""
        return set(self.bodies(ROUTE).get(ROUTES, "").split()) - {"none"}

    def _follow_clusters(self) -> None:
        clusters = self.names(CLUSTER)
        endpoints = self.cache.setdefault(ENDPOINT, {})
        for name in endpoints.keys() - clusters:
            del endpoints[name]
        if clusters != self.asked.get(ENDPOINT, frozenset()):
            self.ask(ENDPOINT, *clusters)


class WorkerClient(Client):
    """Asks as an ext_proc worker does: plans and secrets by wildcard."""

    def begin(self) -> None:
        self.ask(PLAN, "*")
        self.ask(SECRET, "*")
