"""What etcd needs: how full it is, what of its history may go, whose file is to be rewritten.

Pure. etcd keeps every revision until it is told to forget (*compact*), and keeps what that frees in
its file until that is rewritten (*defragmented*), which stops one member for a moment. Its quota
counts the file. Above it, it raises an alarm (NOSPACE) and takes no write until that is disarmed.

Specification: https://etcd.io/docs/v3.5/op-guide/maintenance/
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Policy:
    """How etcd is kept.

    Attributes:
        quota: bytes; what the cluster was started with as `--quota-backend-bytes`.
        keep_seconds: history that is kept, by time.
        keep_revisions: newest revisions that are kept whatever their age, and all that is kept
            when space runs short.
        warn: share of the quota from which space counts as short.
        waste: bytes that must be free in a member's file, and more than are in use, to rewrite it.
    """

    quota: int = 2048 * MIB
    keep_seconds: float = 86_400.0
    keep_revisions: int = 1_000
    warn: float = 0.8
    waste: int = 64 * MIB


@dataclass(frozen=True, slots=True)
class Member:
    """One member of the cluster, as it said last; sizes of its file in bytes."""

    endpoint: str
    id: int
    is_leader: bool
    revision: int
    size: int
    in_use: int
    alarmed: bool


@dataclass(frozen=True, slots=True)
class Space:
    """How full the fullest member is."""

    size: int
    in_use: int
    quota: int
    full: bool
    """etcd has raised its alarm, and takes no write."""
    short: bool

    @property
    def used(self) -> float:
        """Share of the quota."""
        return self.size / self.quota


def space(members: Iterable[Member], policy: Policy) -> Space:
    """The worst of all members."""
    known = list(members)
    size = max((member.size for member in known), default=0)
    in_use = max((member.in_use for member in known), default=0)
    full = any(member.alarmed for member in known)
    return Space(size, in_use, policy.quota, full, full or size >= policy.warn * policy.quota)


def to_defragment(
    members: Iterable[Member], space: Space, policy: Policy, *, everyone: bool = False
) -> list[Member]:
    """Whose file is to be rewritten, in this order: the leader last."""
    waste = min(policy.waste, policy.quota // 20) if space.short else policy.waste

    def worth_it(member: Member) -> bool:
        free = member.size - member.in_use
        return free >= waste and (space.short or free > member.in_use)

    chosen = [member for member in members if everyone or worth_it(member)]
    return sorted(chosen, key=lambda member: (member.is_leader, member.id))


def may_disarm(members: Sequence[Member], policy: Policy) -> bool:
    """Whether all have room again, so that the alarm does not come back with the next write."""
    return bool(members) and all(m.size < 0.95 * policy.quota for m in members)


class History:
    """Which revision was the newest when: what is older than a time is not known otherwise."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._seen: deque[tuple[float, int]] = deque()
        self._compacted = 0

    def see(self, now: float, revision: int) -> None:
        if not self._seen or self._seen[-1][1] != revision:
            self._seen.append((now, revision))

    def to_compact(self, now: float, space: Space) -> int | None:
        """The revision to forget everything before, if there is enough to forget."""
        if not self._seen:
            return None
        newest, target = self._seen[-1][1], 0
        while len(self._seen) > 1 and self._seen[1][0] <= now - self._policy.keep_seconds:
            self._seen.popleft()
        if self._seen[0][0] <= now - self._policy.keep_seconds:
            target = self._seen[0][1]
        if space.short:
            target = newest
        target = min(target, newest - self._policy.keep_revisions)
        return target if target > self._compacted else None

    def compacted(self, revision: int) -> None:
        self._compacted = max(self._compacted, revision)
