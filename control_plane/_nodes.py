"""Reports of nodes, between the hub of this replica and the nodes' keys in etcd.

What this replica knows of its nodes is written, changes of one moment together; what others have
written is told to the hub. A node belongs to who wrote its key last: one that hops is its new
replica's, and the old one keeps silent about it until that is gone. A node that has left is
reported as gone for a moment, in which it is waited for like any other.

While etcd is away nothing here fails: the hub goes on with what it knows, and what it was told
last stays, marked as old.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Final, Protocol

from control_plane.store import StoreError
from control_plane.xds import Hub, Report
from control_plane.xds.report import decode, encode

log = logging.getLogger("naru.nodes")

PAUSE: Final = 0.005
"""Seconds in which what changes is written together."""
MOST_BYTES: Final = 512 * 1024
"""In one write: etcd takes 1.5 MiB by default, and a node's words may be long."""
ABSENCE: Final = 2.0
"""Seconds for which a node that has left is expected back, here or elsewhere."""
CLAIMS: Final = 3
CLAIMS_IN: Final = 60.0
"""Seconds: as many claims of another replica on a node in that time are no hop any more."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 2.0


class Keys(Protocol):
    """`control_plane.store.NodeKeys`."""

    async def put(self, values: Mapping[str, bytes]) -> bool: ...

    async def delete(self, nodes: Collection[str]) -> None: ...

    async def keep(self, lost: Callable[[], None]) -> None: ...

    async def follow(
        self,
        changed: Callable[[Mapping[bytes, bytes | None]], None],
        stands: Callable[[bool], None],
    ) -> None: ...


class Nodes:
    """Carries reports both ways. `redact` takes secrets out of a node's words."""

    def __init__(self, hub: Hub, keys: Keys, redact: Callable[[str], str]) -> None:
        self._hub = hub
        self._keys = keys
        self._redact = redact
        self._wake = asyncio.Event()
        self._complete = False
        self._old = True
        self._elsewhere: dict[str, Report] = {}
        self._named: dict[bytes, str] = {}  # the node of each key
        self._absent: dict[str, Report] = {}  # those that have just left this replica
        self._yielded: dict[str, int] = {}  # nodes of others, and their newest stream here
        self._written: dict[str, Report] = {}
        self._claims: dict[str, deque[float]] = {}
        self._dirty: set[str] = set()
        self._gone: set[str] = set()
        hub.on_news = self._wake.set
        hub.expect_reports()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keys.follow(self._changed, self._stands))
            tasks.create_task(self._keys.keep(self._lost))
            tasks.create_task(self._publish())

    def _changed(self, values: Mapping[bytes, bytes | None]) -> None:
        """What etcd has now."""
        told: dict[str, Report | None] = {}
        for key, value in values.items():
            report = decode(value) if value is not None else None
            name = self._named.pop(key, None) if report is None else report.node
            if name is None:
                continue
            if report is not None:
                self._named[key] = name
            if self._owned(name, report):
                told[name] = self._elsewhere.get(name) or self._absent.get(name)
        self._complete = True
        self._hub.hear(told, complete=True, old=self._old)

    def _owned(self, name: str, report: Report | None) -> bool:
        """Whose a node is; whether that is of interest to the hub."""
        if report is None or report.replica == self._hub.replica:
            if self._yielded.pop(name, None) is not None:
                self._dirty.add(name)  # what happened meanwhile was not written
                self._wake.set()
            return self._elsewhere.pop(name, None) is not None
        self._elsewhere[name] = report
        self._absent.pop(name, None)
        self._written.pop(name, None)
        newest = self._hub.newest_stream(name)
        if newest and self._complete:
            if name not in self._yielded:
                self._claimed(name, report)
            self._yielded[name] = newest
        elif newest:  # what lay there when this replica started, its node has left by now
            self._dirty.add(name)
            self._wake.set()
        return True

    def _claimed(self, name: str, report: Report) -> None:
        """Another replica has a node that is connected here, too: it hops, or there are two."""
        now = asyncio.get_running_loop().time()
        claims = self._claims.setdefault(name, deque(maxlen=CLAIMS))
        claims.append(now)
        if len(claims) == CLAIMS and now - claims[0] < CLAIMS_IN:
            log.warning(
                "%r is connected here and to the control plane %s again and again: if these are "
                "two nodes, each of them needs an id of its own (NARU_NODE_ID)",
                name,
                report.replica,
            )
            claims.clear()

    def _stands(self, standing: bool) -> None:
        if self._old == standing:
            self._old = not standing
            self._hub.hear({}, complete=self._complete, old=self._old)

    def _lost(self) -> None:
        """The lease has ended, and with it all that was written under it."""
        self._dirty |= self._written.keys()
        self._written.clear()
        self._wake.set()

    async def _publish(self) -> None:
        delay = FIRST_DELAY
        while True:
            await self._wake.wait()
            await asyncio.sleep(PAUSE)
            self._wake.clear()
            names, self._dirty = self._dirty | self._hub.take_news(), set()
            gone, self._gone = self._gone, set()
            try:
                await self._write(self._reports(names))
                await self._delete(gone)
                delay = FIRST_DELAY
            except StoreError as error:
                log.debug("the nodes are not reported: %s", error.message)
                self._dirty |= names
                self._gone |= gone
                await asyncio.sleep(delay)
                delay = min(delay * 2, LONGEST_DELAY)
                self._wake.set()

    def _reports(self, names: Collection[str]) -> dict[str, Report]:
        """What is to be written now."""
        reports = {}
        for name in names:
            report = self._hub.report(name)
            if report is not None and self._absent.pop(name, None) is not None:
                self._tell(name, None)
            if report is None:
                report = self._absent.get(name) or self._leave(name)
            if report is None or self._is_others(name):
                continue
            if self._written.get(name) != report:
                reports[name] = report
        return reports

    def _is_others(self, name: str) -> bool:
        """Whether another replica has it, and it has not come back since."""
        newest = self._yielded.get(name)
        if newest is not None and newest < self._hub.newest_stream(name):
            del self._yielded[name]
            return False
        return newest is not None

    def _leave(self, name: str) -> Report | None:
        """A node has left this replica. It is known for a moment more."""
        if name not in self._written:
            return None
        report = self._absent[name] = replace(self._written[name], connected=False)
        self._tell(name, report)
        asyncio.get_running_loop().call_later(ABSENCE, self._forget, name, report)
        return report

    def _forget(self, name: str, report: Report) -> None:
        """It has not come back."""
        if self._absent.get(name) is report:
            del self._absent[name]
            self._written.pop(name, None)
            self._claims.pop(name, None)
            self._gone.add(name)
            self._tell(name, None)
            self._wake.set()

    def _tell(self, name: str, report: Report | None) -> None:
        self._hub.hear({name: report}, complete=self._complete, old=self._old)

    async def _write(self, reports: Mapping[str, Report]) -> None:
        values = {name: encode(self._redacted(report)) for name, report in reports.items()}
        for part in _parts(values):
            if not await self._keys.put(part):
                self._lost()
            self._written.update((name, reports[name]) for name in part)

    async def _delete(self, gone: Collection[str]) -> None:
        await self._keys.delete([name for name in gone if not self._hub.newest_stream(name)])

    def _redacted(self, report: Report) -> Report:
        words = {revision: self._redact(text) for revision, text in report.words.items()}
        types = {
            url: replace(found, error=self._redact(found.error))
            for url, found in report.types.items()
        }
        return replace(report, words=words, types=types)


def _parts(values: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """None of more than `MOST_BYTES`, but for a value that is larger alone."""
    part: dict[str, bytes] = {}
    size = 0
    for name, value in values.items():
        if part and size + len(value) > MOST_BYTES:
            yield part
            part, size = {}, 0
        part[name] = value
        size += len(value)
    if part:
        yield part
