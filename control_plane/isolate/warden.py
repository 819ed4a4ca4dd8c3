"""Takes every refusal, has the rest go live without what is at fault, and keeps etcd told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from control_plane._loop import Outcome
from control_plane.compile import Compiled
from control_plane.isolate.isolation import Isolation
from control_plane.resources import Key
from control_plane.store import Snapshot, StoreError
from control_plane.xds import Refusal, RevisionStatus

log = logging.getLogger("naru.isolate")

AGAIN: Final = 2.0
"""Seconds from a write that failed to the next try."""
_PATIENCE: Final = 30.0


class Nodes(Protocol):
    """`control_plane.xds.Hub`."""

    async def refusal(self) -> Refusal: ...

    def judged(self, revision: int, *, isolated: bool) -> None: ...

    async def wait(self, revision: int, timeout: float) -> RevisionStatus: ...


class Compilation(Protocol):
    """`control_plane._loop.CompileLoop`."""

    @property
    def live(self) -> Compiled | None: ...

    async def again(self) -> None: ...

    @property
    def outcome(self) -> Outcome | None: ...

    async def changed(self, seen: Outcome | None, timeout: float) -> None: ...


class Warden:
    """See the module; `snapshot` gives the newest."""

    def __init__(
        self,
        nodes: Nodes,
        isolation: Isolation,
        compilation: Compilation,
        snapshot: Callable[[], Snapshot],
    ) -> None:
        self._nodes = nodes
        self._isolation = isolation
        self._compilation = compilation
        self._snapshot = snapshot

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._judge())
            tasks.create_task(self._keep())

    async def _judge(self) -> None:
        while True:
            refusal = await self._nodes.refusal()
            isolated = self._isolation.refused(refusal, self._snapshot())
            if not isolated:
                log.error("%s refused what no resource can be blamed for", refusal.node)
            self._nodes.judged(refusal.target.revision, isolated=isolated)
            if isolated:
                await self._compilation.again()
            if await self._isolation.examine():
                await self._compilation.again()

    async def _keep(self) -> None:
        seen = None
        while True:
            await self._compilation.changed(seen, _PATIENCE)
            seen = self._compilation.outcome
            await self._save()
            compiled = self._compilation.live
            if compiled is None or not self._isolation.mended(compiled, self._snapshot()):
                continue
            status = await self._nodes.wait(compiled.revision, _PATIENCE)
            if status.state == "applied" and self._compilation.live is compiled:
                await self._save(self._isolation.mended(compiled, self._snapshot()))

    async def _save(self, mended: frozenset[Key] = frozenset()) -> None:
        """Try until it is done; what is in effect here does not wait for it."""
        while mended or self._isolation.unsaved(self._snapshot()):
            try:
                await self._isolation.save(mended)
                return
            except StoreError as error:
                log.warning("etcd has not been told what is set aside: %s", error.message)
                await asyncio.sleep(AGAIN)
