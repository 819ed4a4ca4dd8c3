"""Takes every refusal, has the rest go live without what is at fault, and keeps etcd told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from control_plane._loop import Outcome
from control_plane.compile import Compiled
from control_plane.isolate.isolation import Isolation
from control_plane.isolate.park import Park
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
        self._turn = asyncio.Lock()  # one Envoy at a time is asked

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep())
            while True:
                refusal = await self._nodes.refusal()
                # At once: what is compiled from now on must be without it.
                isolated = self._isolation.refused(refusal, self._snapshot())
                tasks.create_task(self._judge(refusal, isolated=isolated))

    async def _judge(self, refusal: Refusal, *, isolated: bool) -> None:
        try:
            isolated = await self._pursue(refusal, isolated=isolated)
            if not isolated:
                log.error("%r refused what no resource can be blamed for", refusal.node)
        except Exception:  # a fault of ours costs this revision, not the control plane
            log.exception("a refusal of %r could not be examined", refusal.node)
            isolated = False
        # Not before: until others are on their way, the refused one must not seem to be live.
        self._nodes.judged(refusal.target.revision, isolated=isolated)

    async def _pursue(self, refusal: Refusal, *, isolated: bool) -> bool:
        """Has the others go live; whether all that was wrong is set aside."""
        if isolated or self._compilation.live is not refusal.target:
            await self._compilation.again()
        async with self._turn:
            if await self._isolation.examine(refusal, self._snapshot):
                isolated = True
                await self._compilation.again()
        return isolated

    async def _keep(self) -> None:
        seen = None
        while True:
            await self._compilation.changed(seen, _PATIENCE)
            seen = self._compilation.outcome
            await self._save()
            compiled = self._compilation.live
            mended = self._isolation.mended(compiled, self._snapshot()) if compiled else {}
            if compiled and mended and await self._is_everywhere(compiled):
                await self._save(mended)

    async def _is_everywhere(self, compiled: Compiled) -> bool:
        """Whether all nodes come to have it before there is something else."""
        for _ in range(round(_PATIENCE)):
            status = await self._nodes.wait(compiled.revision, 1.0)
            if self._compilation.live is not compiled:
                return False
            if status.state != "pending":
                return status.state == "applied"
        return False

    async def _save(self, mended: Mapping[Key, Park] | None = None) -> None:
        """Try until it is done; what is in effect here does not wait for it."""
        while mended or self._isolation.unsaved(self._snapshot()):
            try:
                await self._isolation.save(mended)
                return
            except StoreError as error:
                log.warning("etcd has not been told what is set aside: %s", error.message)
                await asyncio.sleep(AGAIN)
