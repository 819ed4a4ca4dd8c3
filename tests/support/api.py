"""The API without etcd, Envoy and sockets: a store in memory, scripted nodes, real compilation."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from control_plane._loop import CompileLoop
from control_plane.api import AdminToken, Metrics, State, create_app
from control_plane.compile import Compiled, Compiler, GatewaySettings
from control_plane.settings import ApiLimits
from control_plane.store import (
    AuditEntry,
    AuditPage,
    Build,
    Guard,
    Kept,
    Snapshot,
    Stored,
    StoredProblem,
    StoredRecord,
)
from control_plane.xds import NodeRevision, NodeStatus, RevisionStatus

TOKEN = "test-admin-token-0123456789"


class MemoryStore:
    """`Store` and `Reflector` in one. `error` is raised by the next commits, as etcd's would be."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self.synced = True
        self.trouble: str | None = None
        self.unsaved: str | None = None
        self.restored: Kept | None = None
        self.problems: Mapping[str, StoredProblem] = {}
        self.error: Exception | None = None
        self.rivals: list[Build] = []
        """Writes that others get in first, one for each try."""
        self.trail: list[AuditEntry] = []
        self._changed = asyncio.Event()

    async def commit(self, build: Build) -> int:
        if self.error is not None:
            raise self.error
        changes = build(self.snapshot)
        while self.rivals:
            self._write(self.rivals.pop(0))
            changes = build(self.snapshot)
        del changes
        return self._write(build)

    def _write(self, build: Build) -> int:
        changes = build(self.snapshot)
        if changes:
            revision = self.snapshot.revision + 1
            records = {
                name: None if value is None else StoredRecord(value, revision)
                for name, value in changes.records.items()
            }
            if changes.audit is not None:
                name = f"{time.time_ns() // 1_000_000:013d}-{revision:016x}"
                self.trail.append(AuditEntry(name, changes.audit, revision))
            puts = [
                Stored(resource, self._created(key, revision), revision)
                for key, resource in changes.puts.items()
            ]
            guard = Guard(revision=revision)
            self.snapshot = self.snapshot.with_changes(
                revision, puts, changes.deletes, guard, records
            )
            self._changed.set()
            self._changed = asyncio.Event()
        return self.snapshot.revision

    async def audit(self, since: int, until: int, after: str | None, limit: int) -> AuditPage:
        if self.error is not None:
            raise self.error
        start, end = f"{since:013d}", f"{until:013d}"
        found = [e for e in self.trail if start <= e.name < end and e.name > (after or "")]
        return AuditPage(tuple(found[:limit]), len(found) > limit)

    def _created(self, key: Any, revision: int) -> int:
        before = self.snapshot.stored.get(key)
        return before.created_revision if before else revision

    async def subscribe(self) -> AsyncIterator[Snapshot]:
        seen: Snapshot | None = None
        while True:
            changed, snapshot = self._changed, self.snapshot
            if snapshot is not seen:
                seen = snapshot
                yield snapshot
            else:
                await changed.wait()


class Nodes:
    """A hub whose nodes answer as they are told: `answer(revision)`."""

    def __init__(self) -> None:
        self.targets: list[int] = []
        self.known: tuple[NodeStatus, ...] = ()
        self.answer: Callable[[int], RevisionStatus] = self.pending

    @property
    def ledger(self) -> Nodes:
        return self

    def nodes(self) -> tuple[NodeStatus, ...]:
        return self.known

    def status(self, revision: int) -> RevisionStatus:
        return self.answer(revision)

    @property
    def last_good(self) -> Compiled | None:
        return None

    def set_target(self, compiled: Compiled) -> None:
        self.targets.append(compiled.revision)

    async def wait(self, revision: int, timeout: float) -> RevisionStatus:
        return self.answer(revision)

    @staticmethod
    def pending(revision: int) -> RevisionStatus:
        nodes = {"gateway-1": NodeRevision("pending", "waiting for Cluster")}
        return RevisionStatus(revision, "pending", nodes)

    @staticmethod
    def applied(revision: int) -> RevisionStatus:
        return RevisionStatus(revision, "applied", {"gateway-1": NodeRevision("applied")})

    @staticmethod
    def rejecting(words: str) -> Callable[[int], RevisionStatus]:
        nodes = {"gateway-1": NodeRevision("rejected", words), "gateway-2": NodeRevision("pending")}
        return lambda revision: RevisionStatus(revision, "rejected", nodes)


@dataclass
class Api:
    """The application and what is behind it. `seen` is every answer so far, headers and body."""

    http: httpx.AsyncClient
    store: MemoryStore
    nodes: Nodes
    compilation: CompileLoop
    state: State
    seen: list[str]

    async def call(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Calls `/api/v1` + path."""
        return await self.http.request(method, f"/api/v1{path}", **kwargs)

    async def put(self, resource: dict[str, Any], query: str = "", **kwargs: Any) -> httpx.Response:
        """PUTs a document where it belongs."""
        return await self.call("PUT", path_of(resource) + query, json=resource, **kwargs)

    async def apply(self, *documents: Any, query: str = "") -> httpx.Response:
        return await self.call("POST", f"/apply{query}", json=list(documents))


@contextlib.asynccontextmanager
async def running_api(
    limits: ApiLimits | None = None,
    compiler: Callable[[], Any] | None = None,
    keys: Any = None,
) -> AsyncIterator[Api]:
    """An `Api` whose snapshots are compiled as they come."""
    store, nodes, seen = MemoryStore(), Nodes(), list[str]()
    make = compiler or (lambda: Compiler(GatewaySettings()))
    metrics = Metrics()
    compilation = CompileLoop(make, nodes, metrics.compiled)
    token = AdminToken(TOKEN)
    state = State(
        store, store, compilation, nodes, token, metrics, limits or ApiLimits(), keys=keys
    )
    following = asyncio.create_task(compilation.run(store.subscribe()))
    transport = httpx.ASGITransport(create_app(state))
    http = httpx.AsyncClient(
        transport=transport,
        base_url="http://api",
        headers={"authorization": f"Bearer {TOKEN}"},
        event_hooks={"response": [_recorder(seen)]},
    )
    try:
        async with http:
            yield Api(http, store, nodes, compilation, state, seen)
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


def _recorder(seen: list[str]) -> Callable[[httpx.Response], Any]:
    async def record(response: httpx.Response) -> None:
        await response.aread()
        seen.append(f"{response.headers}\n{response.text}")

    return record


def path_of(resource: dict[str, Any]) -> str:
    plural = {"Proxy": "proxies"}.get(resource["kind"], resource["kind"].lower() + "s")
    return f"/{plural}/{resource['metadata']['name']}"


def document(kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "naru/v1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def upstream(
    name: str = "openai", credential: str | None = None, **metadata: Any
) -> dict[str, Any]:
    spec: dict[str, Any] = {"dialect": "openai", "url": "http://127.0.0.1:9000/v1"}
    return document(
        "Upstream", name, spec | ({"credential": credential} if credential else {}), **metadata
    )


def credential(name: str = "key", secret: str | None = "sk-secret", **spec: Any) -> dict[str, Any]:
    held = {} if secret is None else {"secret": secret}
    hosts = {"allowedHosts": ["127.0.0.1", "api.openai.com"]}
    return document("Credential", name, {"type": "bearer", **hosts, **held, **spec})


def template(name: str = "menu", content: str = "Describe {{ dish }}.") -> dict[str, Any]:
    return document("Template", name, {"messages": [{"role": "user", "content": content}]})


def proxy(name: str = "menu-copy", to: str = "openai", **spec: Any) -> dict[str, Any]:
    return document("Proxy", name, {"upstreams": [{"name": to}], **spec})
