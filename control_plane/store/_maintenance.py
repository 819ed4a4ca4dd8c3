"""Keeps etcd from filling up: watches its size, forgets old history, rewrites what is mostly empty.

Every replica watches; only the one that holds a leased lock acts, on one member after another, so
that the cluster always has a majority that answers. When etcd is full nobody can take the lock any
more (that is a write, too); then each acts after a random wait, for every write is at stake.

What a member does is decided in `_upkeep.py`; the calls are in `_members.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

from control_plane.store import _wire
from control_plane.store._client import EtcdClient
from control_plane.store._members import Members
from control_plane.store._upkeep import (
    MIB,
    History,
    Member,
    Policy,
    Space,
    may_disarm,
    space,
    to_defragment,
)
from control_plane.store.errors import StoreError

log = logging.getLogger(__name__)

_LEASE: Final = 60  # seconds
_DEFAULT_REQUEST: Final = 2 * MIB
"""What etcd's gRPC server takes by default, overhead included."""


class Maintenance:
    """See the module. `limits` are the operations and bytes that the cluster should take at once.

    `interval` is how often it looks, in seconds.
    """

    def __init__(
        self,
        client: EtcdClient,
        lock: bytes,
        policy: Policy | None = None,
        *,
        limits: tuple[int, int] = (128, 1_572_864),
        interval: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._members = Members(client)
        self._lock, self._name = lock, secrets.token_hex(8).encode()
        self._policy = policy or Policy()
        self._limits, self._checked = limits, False
        self._interval, self._clock = interval, clock
        self._history = History(self._policy)
        self._lease: int | None = None
        self._warned = self._emptied = False
        self.space: Space | None = None
        """None until a member has said so."""
        self._problems: dict[str, str] = {}

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with how etcd is run, for people."""
        return tuple(self._problems.values())

    async def run(self) -> None:
        """Until it is cancelled; failures are tried again."""
        try:
            while True:
                try:
                    await self.look()
                    self._note("upkeep", None)
                except _wire.Refused as error:  # again and again, until somebody knows
                    self._note("upkeep", f"etcd cannot be looked after: {error.message}")
                except StoreError as error:
                    log.debug("etcd could not be looked after: %s", error.message)
                except Exception:  # the next look may do better
                    log.exception("looking after etcd failed")
                await asyncio.sleep(self._interval)
        finally:
            await self._leave()

    async def look(self) -> None:
        """Once: look at every member, and do what is due."""
        members, missing = await self._statuses()
        if not members:
            return
        await self._check_limits()
        self.space = found = space(members, self._policy)
        self._warn(found)
        self._history.see(self._clock(), max(member.revision for member in members))
        if await self._is_mine(found):
            await self._compact(found)
            await self._rewrite(found, missing)

    async def _check_limits(self) -> None:
        """Says once, in words, what the first large apply would meet."""
        if self._checked:
            return
        operations, size = self._limits
        most = _DEFAULT_REQUEST + MIB // 4
        takes, key = self._members.takes, self._lock
        try:
            good = await takes(key, operations, 0)
            good = good and await takes(key, 1, most if size > most else 0)
        except _wire.StoreFull:  # it refuses any transaction now
            return
        except _wire.Refused as error:
            self._note("limits", f"what etcd takes at once is not known: {error.message}")
            return
        self._checked = True
        problem = (
            "etcd takes less in one transaction than this process was told: start it with "
            f"--max-txn-ops={operations} and --max-request-bytes={size}, or set "
            "NARU_ETCD_MAX_TXN_OPS and NARU_ETCD_MAX_REQUEST_BYTES to what it takes"
        )
        self._note("limits", None if good else problem)

    async def _statuses(self) -> tuple[list[Member], bool]:
        """All members that answer, and whether one does not."""
        found: dict[int, Member] = {}
        missing = False
        for endpoint in self._members.endpoints:
            try:
                member = await self._members.status(endpoint)
            except StoreError:
                missing = True
            else:
                found[member.id] = member
        return list(found.values()), missing

    async def _is_mine(self, found: Space) -> bool:
        """Whether this replica is the one that acts."""
        if self._lease is not None and await self._members.prolong(self._lease):
            return True
        self._lease = None
        if await self._members.holder(self._lock) is not None:
            return False
        try:
            self._lease = await self._members.acquire(self._lock, self._name, _LEASE)
        except _wire.StoreFull:
            await asyncio.sleep(random.uniform(0, self._interval))  # noqa: S311 - jitter, no secret
            return True
        return self._lease is not None

    async def _compact(self, found: Space) -> None:
        revision = self._history.to_compact(self._clock(), found)
        if revision is None:
            return
        await self._members.compact(revision)
        self._history.compacted(revision)
        self._emptied = False
        log.info("etcd's history before revision %d is compacted", revision)

    async def _rewrite(self, found: Space, missing: bool) -> None:
        """Rewrites files, one after another, and lets etcd take writes again when there is room."""
        members, _ = await self._statuses()
        if missing and len(self._members.endpoints) > 1:
            return  # without another member there might be no majority
        # A full etcd does not say what compaction has freed before it writes again.
        everyone = found.full and not self._emptied
        try:
            for member in to_defragment(members, found, self._policy, everyone=everyone):
                await self._defragment(member)
        except _wire.Refused as error:
            self._note(
                "defragmentation",
                f"etcd's files cannot be made smaller: {error.message}. etcd lets only the role "
                "root defragment: give it to the user, or run `etcdctl defrag` yourself",
            )
        else:
            self._emptied = found.full
            self._note("defragmentation", None)
        if found.full:
            await self._disarm()

    async def _defragment(self, member: Member) -> None:
        await self._members.defragment(member.endpoint)
        now = await self._members.status(member.endpoint)
        log.info(
            "etcd at %s is defragmented: %d MiB instead of %d",
            member.endpoint, now.size // MIB, member.size // MIB,
        )  # fmt: skip

    async def _disarm(self) -> None:
        members, missing = await self._statuses()
        if not missing and may_disarm(members, self._policy):
            await self._members.disarm()
            log.warning("etcd has room again, and takes writes")
            self.space = space([_unalarmed(member) for member in members], self._policy)

    def _warn(self, found: Space) -> None:
        if found.full and not self._warned:
            log.error("etcd is full (%s): no write is taken", _filled(found))
        elif found.short and not self._warned:
            log.warning("etcd is nearly full (%s)", _filled(found))
        self._warned = found.short

    def _note(self, what: str, problem: str | None) -> None:
        """Keeps what is wrong, and logs it when it is new; None: it is right now."""
        if problem is None:
            self._problems.pop(what, None)
        elif self._problems.get(what) != problem:
            self._problems[what] = problem
            log.error("%s", problem)

    async def _leave(self) -> None:
        """Lets another replica take over at once."""
        if self._lease is not None:
            with contextlib.suppress(StoreError):
                await self._members.give_up(self._lease)


def _filled(found: Space) -> str:
    return f"{found.size // MIB} of {found.quota // MIB} MiB, {found.in_use // MIB} in use"


def _unalarmed(member: Member) -> Member:
    return Member(
        member.endpoint, member.id, member.is_leader, member.revision, member.size, member.in_use,
        alarmed=False,
    )  # fmt: skip


__all__: Sequence[str] = ("Maintenance", "Policy", "Space")
