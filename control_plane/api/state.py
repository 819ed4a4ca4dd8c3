"""What the API works on, passed in once: nothing here is global."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from control_plane._loop import Outcome
from control_plane._verdicts import Verdicts
from control_plane.access import Authenticator
from control_plane.api._metrics import Metrics
from control_plane.api._token import AdminToken
from control_plane.compile import Compiled
from control_plane.redact import Redactor
from control_plane.resources import Key, Resource
from control_plane.resources.addresses import AddressPolicy
from control_plane.settings import ApiLimits
from control_plane.store import (
    AuditPage,
    Build,
    Kept,
    KeyUse,
    Progress,
    SealerLike,
    Snapshot,
    Space,
    StoredProblem,
    StoreUnavailable,
)
from control_plane.xds import NodeStatus, RevisionStatus


class Commits(Protocol):
    """`control_plane.store.Store`."""

    @property
    def unsaved(self) -> str | None: ...

    async def commit(self, build: Build) -> int: ...

    async def audit(self, since: int, until: int, after: str | None, limit: int) -> AuditPage: ...


class Snapshots(Protocol):
    """`control_plane.store.Reflector`."""

    @property
    def snapshot(self) -> Snapshot: ...

    @property
    def synced(self) -> bool: ...

    @property
    def trouble(self) -> str | None: ...

    @property
    def restored(self) -> Kept | None: ...

    @property
    def problems(self) -> Mapping[str, StoredProblem]: ...


class Compilation(Protocol):
    """`control_plane._loop.CompileLoop`."""

    @property
    def outcome(self) -> Outcome | None: ...

    @property
    def live(self) -> Compiled | None: ...

    async def wait_for(self, revision: int, timeout: float) -> Outcome | None: ...

    @property
    def verdicts(self) -> Verdicts: ...

    async def changed(self, seen: Outcome | None, timeout: float) -> None: ...

    async def preview(self, snapshot: Snapshot, resources: Mapping[Key, Resource]) -> Compiled: ...


class Nodes(Protocol):
    """`control_plane.xds.Ledger`."""

    def nodes(self) -> tuple[NodeStatus, ...]: ...

    def status(self, revision: int) -> RevisionStatus: ...


class Serving(Protocol):
    """`control_plane.xds.Hub`."""

    @property
    def ledger(self) -> Nodes: ...

    async def wait(self, revision: int, timeout: float) -> RevisionStatus: ...


class Keys(Protocol):
    """`control_plane.store.Rotation`."""

    @property
    def sealing(self) -> SealerLike: ...

    @property
    def source(self) -> str: ...

    async def keys(self) -> tuple[KeyUse, ...]: ...

    async def rotate(
        self, to: str | None, seconds: float, judged: Callable[[Build], Build]
    ) -> Progress: ...

    async def prune(self) -> tuple[str, ...]: ...


class Upkeep(Protocol):
    """`control_plane.store.Store.maintenance`."""

    @property
    def space(self) -> Space | None: ...

    @property
    def problems(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class State:
    """Everything that the routers use."""

    store: Commits
    reflector: Snapshots
    compilation: Compilation
    hub: Serving
    token: AdminToken
    metrics: Metrics
    limits: ApiLimits = field(default_factory=ApiLimits)
    addresses: AddressPolicy = field(default_factory=AddressPolicy)
    keys: Keys | None = None
    upkeep: Upkeep | None = None
    redactor: Redactor = field(default_factory=Redactor)

    @property
    def authenticator(self) -> Authenticator:
        return Authenticator(self.token)

    @property
    def snapshot(self) -> Snapshot:
        """What is stored; raises StoreUnavailable before etcd was read for the first time."""
        if not self.reflector.synced:
            trouble = self.reflector.trouble or "reading"
            raise StoreUnavailable(f"etcd has not been read yet: {trouble}")
        return self.reflector.snapshot
