"""Writes: each is a transaction that compares the guard, so it changes what it was made for.

The guard is one key that every transaction rewrites. `commit` builds the changes from a snapshot
and lets etcd apply them only if the guard is still at that snapshot's revision. So what `build`
checked (references, `If-Match`, …) holds at the moment of the write, however many writers there
are; the price is that writes come one after another, which is what etcd does with them anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from control_plane.store import _guard, _right_key, _sealed, _wire
from control_plane.store._access import EtcdAccess
from control_plane.store._client import EtcdClient, Outcome
from control_plane.store._deadline import Deadline
from control_plane.store._layout import PREFIX, Layout
from control_plane.store._lkg import Kept, LastKnownGood
from control_plane.store._maintenance import Maintenance
from control_plane.store._nodes import NodeKeys
from control_plane.store._records import Record
from control_plane.store._sealed import Batch, Listing
from control_plane.store._upkeep import Policy
from control_plane.store.codec import Codec, Rewrap, SealerLike
from control_plane.store.errors import Conflict, OutcomeUnknown, StoreUnavailable, TooLarge
from control_plane.store.model import AuditEntry, AuditPage, Changes, Guard, Snapshot
from control_plane.store.reflector import Reflector
from ext_proc.errors import SnapshotRefused
from ext_proc.sealed import Keeper

log = logging.getLogger(__name__)

Build = Callable[[Snapshot], Changes]

ATTEMPT: Final = 1.5
"""Seconds for one sending, so that a silent endpoint leaves time for the next."""
PAUSE: Final = 0.1
MIB: Final = 1024 * 1024
_UNKNOWN: Final = (
    "etcd fell silent during the write, which may or may not be in effect: read the resource again"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one `commit` may take.

    Attributes:
        max_operations: etcd's `--max-txn-ops`; one of them is the guard's.
        max_bytes: etcd's `--max-request-bytes`.
        max_tries: how often other writers may be first before `Conflict`.
        timeout: seconds for all of it, waiting for other commits of this process included.
        visible: seconds to wait, after the write, until the snapshot shows it.
    """

    max_operations: int = 128
    max_bytes: int = 1_572_864
    max_tries: int = 16
    timeout: float = 4.0
    visible: float = 1.0


class Store:
    """The product's state in one etcd cluster; an async context manager that runs its reflector."""

    def __init__(
        self,
        endpoints: Sequence[str],
        sealer: SealerLike,
        prefix: str = PREFIX,
        *,
        limits: Limits | None = None,
        access: EtcdAccess | None = None,
        policy: Policy | None = None,
        silence: float = 5.0,
        page_size: int = 500,
        last_known_good: LastKnownGood | None = None,
        patience: float = 3.0,
    ) -> None:
        """`last_known_good` is where the state is kept, and begun with if etcd has not answered
        within `patience` seconds."""
        self.client = self._client = EtcdClient(endpoints, access)
        self.codec = Codec(sealer)
        self.layout = self._layout = Layout(prefix)
        self._limits = limits or Limits()
        self.maintenance = Maintenance(
            self._client,
            self._layout.maintenance,
            policy,
            limits=(self._limits.max_operations, self._limits.max_bytes),
        )
        self._turn = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: str | None = None
        self._kept, self._patience = last_known_good, patience
        self.reflector = Reflector(
            self._client, self.codec.decode, self._layout, page_size=page_size, silence=silence
        )

        self._keeper = (
            Keeper[Kept](last_known_good, self.reflector.kept) if last_known_good else None
        )

    @property
    def unsaved(self) -> str | None:
        """Why the newest state is not on disk, where it should be."""
        return self._failure or (self._keeper.trouble if self._keeper else None)

    @property
    def snapshot(self) -> Snapshot:
        """The reflector's newest."""
        return self.reflector.snapshot

    def nodes(self) -> NodeKeys:
        """The nodes' keys, which are no part of the snapshot."""
        return NodeKeys(self._client, self._layout, most=self._limits.max_operations)

    async def start(self) -> None:
        """Starts to follow etcd; does not wait for it."""
        works = [self.reflector.run()]
        if self._keeper is not None:
            works += [self._keeper.run(), self._keep(), self._fall_back()]
        self._tasks = [asyncio.create_task(work) for work in works]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Stops following and closes the connections."""
        if self._keeper is not None:
            await self._keeper.flush()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._client.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Says that a task has died, which others would notice late."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the store's own work has failed", exc_info=error)
            self._failure = f"it has failed with {type(error).__name__}: see the log"

    async def _keep(self) -> None:
        """Has every state of etcd written to disk, now and then."""
        assert self._keeper is not None
        async for snapshot in self.reflector.subscribe():
            self.codec.use(_primary(snapshot))  # what is kept is sealed with it, too
            if self.reflector.restored is None:
                self._keeper.changed()

    async def _fall_back(self) -> None:
        """Begins with the state on disk if etcd does not answer."""
        assert self._kept is not None
        with contextlib.suppress(StoreUnavailable):
            await self.reflector.wait_for(0, self._patience)
            return
        try:
            kept = await asyncio.to_thread(self._kept.read)
            restored = kept is not None and await self.reflector.restore(kept)
        except SnapshotRefused as error:
            log.error("the snapshot %s is not used: %s", self._kept.path, error)
            return
        except Exception:  # etcd is waited for, as without a snapshot
            log.exception("the snapshot %s is not used", self._kept.path)
            return
        if restored:
            revision = self.reflector.snapshot.revision
            log.warning("no etcd: serving revision %d out of %s", revision, self._kept.path)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def commit(self, build: Build) -> int:
        """Writes what `build` makes of the newest snapshot; the revision at which it is in etcd.

        `build` may be called several times, each time with a newer snapshot; what it raises passes
        through, with nothing written. Empty changes write nothing.

        Raises:
            Conflict: other writers were first, `max_tries` times.
            TooLarge: more than etcd takes in one transaction; nothing was written.
            StoreUnavailable: etcd cannot be reached; nothing was written.
            OutcomeUnknown: etcd fell silent after the write was sent.
        """
        deadline = Deadline(self._limits.timeout)
        async with deadline.turn(self._turn):
            snapshot = await self.reflector.wait_for(0, deadline.left)
            for _ in range(self._limits.max_tries):
                self.codec.use(_primary(snapshot))
                changes = build(snapshot)
                if not changes:
                    return snapshot.revision
                _right_key.check(snapshot, self.reflector.problems, changes)
                revision = await self._write(snapshot.guard, changes, deadline)
                if revision is not None:
                    await self._seen(revision, deadline)
                    return revision
                snapshot = await self._newer(snapshot.guard, deadline)
        raise Conflict("others wrote at the same moment, again and again: retry")

    async def sealed(self, timeout: float = 5.0) -> Listing:
        """Everything that holds sealed values, as etcd has it now."""
        deadline, records, revision = Deadline(timeout), list[Record](), 0
        layout = self._layout
        ends = {start: _after(start) for start in _sealed.prefixes(layout)}
        single = (layout.guard, layout.record(_sealed.PRIMARY))
        for start, end in {**{key: key + b"\0" for key in single}, **ends}.items():
            more = True
            while more:
                page = await self._client.page(start, end, revision, 500, deadline.left)
                records += page.records
                revision, more = page.revision, page.more and bool(page.records)
                start = page.records[-1].key + b"\0" if page.records else start
        found = {each.key: each for each in records}
        guard, primary = (found.pop(key, None) for key in single)
        named = primary.value.decode("ascii", "replace") if primary else None
        return Listing(_guard.decode(guard), named, tuple(found.values()))

    async def reseal(self, rewrap: Rewrap, most: int = 100) -> Batch:
        """Seals a part of what the primary key does not seal yet; nothing else about it changes.

        Raises as `commit`.
        """
        deadline = Deadline(self._limits.timeout)
        most = min(most, self._limits.max_operations - 2)
        async with deadline.turn(self._turn):
            for _ in range(self._limits.max_tries):
                listing = await self.sealed(deadline.left)
                self.codec.use(listing.primary)
                batch = _sealed.batch(
                    self._layout, listing.records, self.codec.primary, rewrap, most,
                    min(self._limits.max_bytes, MIB) // 2,
                )  # fmt: skip
                if not batch.puts:
                    return batch
                changes = Changes(raw=batch.puts)
                revision = await self._write(listing.guard, changes, deadline)
                if revision is not None:
                    await self._seen(revision, deadline)
                    return batch
        raise Conflict("others wrote at the same moment, again and again: retry")

    async def audit(self, since: int, until: int, after: str | None, limit: int) -> AuditPage:
        """At most `limit` entries of the audit trail, the oldest first, as they are now.

        Args:
            since: the first millisecond (Unix); `until`: the first that is not asked for.
            after: name of the entry to go on after.

        Raises StoreUnavailable.
        """
        start, end = self._layout.audit_range(since, until, after)
        if start >= end:
            return AuditPage((), False)
        endpoint, deadline = self._client.endpoint, Deadline(self._limits.timeout)
        try:
            await self._client.ready(min(ATTEMPT, deadline.left))
            page = await self._client.page(start, end, 0, limit, deadline.left)
        except StoreUnavailable:
            self._client.rotate(endpoint)
            raise
        entries = [
            AuditEntry(self._layout.audit_name(each.key), each.value, each.modified)
            for each in page.records
        ]
        return AuditPage(tuple(entries), page.more)

    async def _write(self, guard: Guard, changes: Changes, deadline: Deadline) -> int | None:
        """The revision of the write, or `None` if another one was first."""
        write_id = secrets.token_hex(8)
        transaction = self._transaction(guard, changes, write_id)
        outcome, resent = await self._send(transaction, deadline)
        if outcome.applied:
            return outcome.revision
        if not resent:
            return None
        now = _guard.decode(outcome.guard)
        match _guard.fate(write_id, guard, now):
            case "applied":
                return now.writes[write_id]
            case "lost":
                return None
            case "unknown":
                raise OutcomeUnknown(_UNKNOWN)

    def _transaction(self, guard: Guard, changes: Changes, write_id: str) -> _wire.Transaction:
        """Raises `TooLarge`; etcd itself would only say so after it got everything."""
        documents = len(changes.puts) + len(changes.deletes)
        most = self._limits.max_operations - 1 - _extras(changes)
        if documents > most:
            raise TooLarge(
                f"{documents} documents do not fit into one transaction: apply at most {most} at "
                "once"
            )
        puts = {
            self._layout.resource(key): self.codec.encode(resource)
            for key, resource in changes.puts.items()
        }
        deletes = [self._layout.resource(key) for key in sorted(changes.deletes)]
        for name, value in sorted(changes.records.items()):
            if value is None:
                deletes.append(self._layout.record(name))
            else:
                puts[self._layout.record(name)] = value
        if changes.audit is not None:
            # the guard's version keeps those of one millisecond in their order
            entry_id = f"{guard.version:012x}{write_id}"
            entry = self._layout.audit_entry(time.time_ns() // 1_000_000, entry_id)
            puts[entry] = changes.audit
        puts |= changes.raw
        puts[self._layout.guard] = _guard.encode(guard, write_id)
        transaction = _wire.transaction(self._layout.guard, guard.revision, puts, deletes)
        if transaction.size > self._limits.max_bytes:
            raise TooLarge(
                f"the change takes {transaction.size} bytes, one transaction takes "
                f"{self._limits.max_bytes}: apply fewer or smaller documents at once"
            )
        return transaction

    async def _send(
        self, transaction: _wire.Transaction, deadline: Deadline
    ) -> tuple[Outcome, bool]:
        """The answer, and whether an earlier, unanswered sending may be what it speaks of.

        Sending again is safe: the transaction compares what it changes, so it happens once at most.
        """
        sent = False
        while True:
            endpoint, resent = self._client.endpoint, sent
            try:
                await self._client.ready(min(ATTEMPT, deadline.left))
                sent = True
                return await self._client.commit(transaction, min(ATTEMPT, deadline.left)), resent
            except (StoreUnavailable, TooLarge) as error:
                final = isinstance(error, TooLarge | _wire.Refused)
                if final and not resent:
                    raise
                if final or deadline.left < PAUSE:
                    raise (OutcomeUnknown(_UNKNOWN) if sent else error) from error
                self._client.rotate(endpoint)
                await asyncio.sleep(PAUSE)

    async def _seen(self, revision: int, deadline: Deadline) -> None:
        """Waits until this process sees its own write; not for long, for it is made in any case."""
        with contextlib.suppress(StoreUnavailable):
            await self.reflector.wait_for(revision, min(self._limits.visible, deadline.left))

    async def _newer(self, guard: Guard, deadline: Deadline) -> Snapshot:
        """The snapshot after the write that was first."""
        revision = guard.revision
        return await self.reflector.wait_until(
            lambda snapshot: snapshot.guard.revision != revision, deadline.left
        )


def _primary(snapshot: Snapshot) -> str | None:
    record = snapshot.records.get(_sealed.PRIMARY)
    return None if record is None else record.value.decode("ascii", "replace")


def _after(prefix: bytes) -> bytes:
    """The first key after all that begin with the prefix, which ends with a slash."""
    return prefix[:-1] + b"0"


def _extras(changes: Changes) -> int:
    """Operations of a transaction for what is no resource."""
    return len(changes.records) + len(changes.raw) + (changes.audit is not None)
