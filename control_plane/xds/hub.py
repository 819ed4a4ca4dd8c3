"""The xDS server as the rest of the control plane sees it: give it a target, ask what became of it.

The thin asyncio side of `core.py`: the clock, one timer, and those who wait. Everything runs in one
event loop; nothing here blocks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

import grpc.aio

from control_plane.compile.model import Compiled
from control_plane.xds.core import Core
from control_plane.xds.delta import DeltaRequest
from control_plane.xds.ledger import Ledger, RevisionStatus
from control_plane.xds.report import Report
from control_plane.xds.server import handlers
from control_plane.xds.sotw import SotwRequest
from control_plane.xds.stream import Stream
from control_plane.xds.subscription import Response
from control_plane.xds.switch import Refusal

log = logging.getLogger("naru.xds")

LOOK: Final = 0.01
"""Seconds from one look of those who wait to the next: a fleet answers hundreds of times in it."""


class Hub:
    """Serves the newest target by ADS, and moves from one to the next without a gap.

    `linger` is how long, in seconds, a resource is served that nobody names any more; `patience`
    how long a client that does not answer holds up everybody else. Before the first target nothing
    is answered, so a control plane that has just started takes nothing away from anybody.
    `on_sent` is told of every response.
    `examined`: somebody takes every `refusal`, sets another target if there is any, knowing of it,
    and calls `judged`.

    `replica` is this control plane's name among those that share one etcd. Whoever carries reports
    between them sets `on_news`, and uses `take_news`, `report` and `hear`.
    """

    def __init__(
        self,
        *,
        linger: float = 90.0,
        patience: float = 5.0,
        replica: str = "",
        examined: bool = False,
        on_sent: Callable[[Response], None] = lambda response: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._core = Core(
            linger=linger, patience=patience, on_refused=self._refused, replica=replica
        )
        self.on_news: Callable[[], None] = lambda: None
        """Called when there may be something new to report."""
        self._examined = examined
        self._refusals: asyncio.Queue[Refusal] = asyncio.Queue()
        self._on_sent = on_sent
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._waking: asyncio.TimerHandle | None = None
        self._looked = 0.0

    @property
    def ledger(self) -> Ledger:
        return self._core.ledger

    @property
    def last_good(self) -> Compiled | None:
        """The newest that a client has accepted in full; None before the first."""
        return self._core.last_good

    def set_target(self, compiled: Compiled) -> None:
        """The newest target wins; it starts as soon as the present move is over.

        One that was made before a `refusal` was taken has the same fault: it is dropped, and
        whoever takes the refusal sets another.
        """
        if self._refusals.empty():
            self._core.set_target(compiled, self._clock())
            self._after()

    async def wait(self, revision: int, timeout: float) -> RevisionStatus:
        """The status of a revision once it is applied or rejected, or after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while self.ledger.state(revision) == "pending":
            news: asyncio.Future[None] = loop.create_future()
            self._waiting.add(news)
            try:
                await asyncio.wait((news,), timeout=max(0.0, deadline - loop.time()))
            finally:
                self._waiting.discard(news)
            if loop.time() >= deadline:
                break
        return self.ledger.status(revision)

    async def refusal(self) -> Refusal:
        """The next refusal that took a target back; the last good one is served meanwhile.

        Its revision counts as pending until `judged` says otherwise.
        """
        return await self._refusals.get()

    def judged(self, revision: int, *, isolated: bool) -> None:
        """What is to be thought of a refused target: that only what is set aside was at fault, and
        the rest of it goes on, or that all of it is rejected."""
        self.ledger.judge(revision, isolated=isolated)
        self._after()

    def _refused(self, refusal: Refusal) -> bool:
        if self._examined:
            self.ledger.examine(refusal.target.revision)
            self._refusals.put_nowait(refusal)
        return self._examined

    @property
    def replica(self) -> str:
        return self.ledger.replica

    def expect_reports(self) -> None:
        """Nothing is certain before `hear` was told all that other replicas say."""
        self._core.expect_reports()

    def hear(self, reports: Mapping[str, Report | None], *, complete: bool, old: bool) -> None:
        """What others say of nodes now, None of those of which they say nothing any more.

        `complete`: with what was told before it is all; `old`: it may have changed unheard.
        """
        self.ledger.old = old
        self._core.hear(reports, self._clock(), complete=complete)
        self._after()

    def report(self, node: str) -> Report | None:
        """What the others are to be told of a node; None if it is not connected here."""
        return self._core.report(node)

    def newest_stream(self, node: str) -> int:
        """A number that grows whenever a node connects; 0 while it is not."""
        return max(self.ledger.streams(node), default=0)

    def take_news(self) -> set[str]:
        """The nodes of which there may be something new to report since this was asked last."""
        return self._core.take_news()

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the `AggregatedDiscoveryService`, state of the world and delta, to a server."""
        server.add_generic_rpc_handlers((handlers(self),))

    def join(self, stream: Stream) -> int:
        if self._core.is_taken(stream.node):
            log.warning(
                "two nodes have the id %r: each of them needs one of its own (NARU_NODE_ID)",
                stream.node.id,
            )
        number = self._core.join(stream)
        self._after()
        return number

    def leave(self, number: int) -> None:
        self._core.leave(number, self._clock())
        self._after()

    def request(self, number: int, type_url: str, request: SotwRequest | DeltaRequest) -> None:
        """Raises: TooMuch."""
        self._core.request(number, type_url, request, self._clock())
        self._after()

    def next(self, number: int) -> Response | None:
        response = self._core.next(number)
        if response is not None:
            self._on_sent(response)
        return response

    def _after(self) -> None:
        """Something happened: those who wait look again soon, and the timer is set anew."""
        if self._core.has_news:
            self.on_news()
        if self._waiting and self._waking is None:
            loop = asyncio.get_running_loop()
            self._waking = loop.call_at(self._looked + LOOK, self._wake)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._core.deadline
        if deadline is not None:
            delay = max(0.0, deadline - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _wake(self) -> None:
        self._waking, self._looked = None, asyncio.get_running_loop().time()
        for news in self._waiting:
            if not news.done():
                news.set_result(None)

    def _tick(self) -> None:
        self._timer = None
        self._core.tick(self._clock())
        self._after()
