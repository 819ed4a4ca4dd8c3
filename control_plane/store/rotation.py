"""Rotation of the key-encryption key while everything runs, and what each key is still needed for.

1. A new key is put before the others in the source (by us where the source is ours), for reading.
2. Every control plane that runs must have it; until then nobody seals with it.
3. The record `keys/primary` names it: from that transaction on every replica seals with it, because
   each write compares the guard and so knows the record.
4. What older keys seal is sealed anew, a bounded transaction at a time.

Every step can be repeated: whoever asks again goes on where it ended. Resources stay what they are,
so nothing is compiled and no node is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from control_plane.store._client import ListExpired
from control_plane.store._sealed import PRIMARY, Listing
from control_plane.store.errors import (
    Conflict,
    KekError,
    KeysApart,
    KeysInUse,
    StoreError,
    WrongKek,
)
from control_plane.store.keyring import Keyring
from control_plane.store.model import Changes, Snapshot
from control_plane.store.presence import TICK, TTL, Presence, Replica
from control_plane.store.sealing import Kek
from control_plane.store.store import Build, Store

log = logging.getLogger(__name__)

PATIENCE: Final = TTL + 2.0
"""Seconds in which replicas look into their sources, and one that died is forgotten."""
_FILES: Final = 6.0
"""Seconds in which a replica has its files sealed with the new key, and says so."""
_POLL: Final = 0.2


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key, and what needs it.

    Attributes:
        held: whether this replica has it.
        values: how many values in etcd it seals.
        replicas: those whose files it seals.
    """

    id: str
    primary: bool
    held: bool
    values: int
    replicas: tuple[str, ...] = ()

    @property
    def needed(self) -> bool:
        return self.primary or bool(self.values or self.replicas)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rotation has come.

    Attributes:
        primary: the key that seals now.
        resealed: values that this call has sealed with it.
        left: values that other keys seal still.
        unreadable: values that no key here opens; to set them again is all that helps.
    """

    primary: str
    resealed: int
    left: int
    unreadable: int


class Rotation:
    """See the module.

    Args:
        own_uses: the ids of keys that files of this replica are sealed with, out of those given.
    """

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        own_uses: Callable[[Collection[str]], Collection[str]] = lambda ids: (),
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._own_uses = own_uses
        self._turn = asyncio.Lock()
        self._known = keyring.ids
        self.presence = Presence(store.client, store.layout, self._describe)

    @property
    def sealing(self) -> Keyring:
        """What seals and opens."""
        return self._keyring

    @property
    def source(self) -> str:
        """Where the keys come from, as an operator calls it."""
        return self._keyring.source.name

    async def run(self) -> None:
        """Be there for the other replicas, and take up keys that come, until cancelled."""
        present = asyncio.create_task(self.presence.run())
        try:
            while not present.done():
                with contextlib.suppress(StoreError, ListExpired):
                    await self._open_what_opens_now()
                await asyncio.wait({present}, timeout=TICK)
            await present
        finally:
            present.cancel()
            await asyncio.wait({present})

    async def keys(self) -> tuple[KeyUse, ...]:
        """Every key that is here or needed, newest first; raises StoreError."""
        self._keyring.refresh()
        listing = await self._store.sealed()
        usage, replicas = listing.usage(), await self.presence.replicas()
        primary = self._primary(listing)
        used = {kek for replica in replicas.values() for kek in replica.uses}
        others = sorted({primary, *usage, *used} - set(self._keyring.ids))
        return tuple(
            KeyUse(
                kek,
                kek == primary,
                kek in self._keyring.ids,
                usage[kek],
                tuple(sorted(name for name, each in replicas.items() if kek in each.uses)),
            )
            for kek in (*self._keyring.ids, *others)
        )

    async def rotate(
        self,
        to: str | None = None,
        seconds: float = 5.0,
        judged: Callable[[Build], Build] = lambda build: build,
    ) -> Progress:
        """Begin a rotation, or go on with one, for about so many seconds.

        Args:
            to: the key of the rotation that is to go on; None: begin one if none is under way.
            judged: wraps what is written when one begins.

        Raises:
            KeysNotOurs: a new key is needed, which only an operator can provide.
            KeysApart: a replica does not have the new key.
            Conflict: `to` is not the key that seals.
            StoreError: as `Store.commit`.
        """
        async with self._turn:
            self._keyring.refresh()
            listing = await self._store.sealed()
            primary = self._primary(listing)
            if to is not None and to != primary:
                raise Conflict(f"secrets are sealed with {primary} by now: another rotation began")
            progress = await self._reseal(primary, seconds)
            if to is not None or progress.resealed or progress.left:
                return progress
            return await self._reseal(await self._begin(primary, judged), seconds)

    async def prune(self) -> tuple[str, ...]:
        """Drop every key of the source that nothing needs; their ids.

        Raises:
            KeysNotOurs: only an operator can take them out of the source.
            KeysInUse: there is none; says what needs them.
        """
        async with self._turn:
            keys = await self._without_stragglers()
            idle = tuple(key.id for key in keys if not key.needed)
            if not idle:
                raise KeysInUse("no key can be dropped: " + "; ".join(map(_why, keys)))
            self._keyring.source.drop(idle)
            self._keyring.refresh()
            await self.presence.announce()
            log.info("key-encryption keys dropped: %s", ", ".join(idle))
            return idle

    async def _without_stragglers(self) -> list[KeyUse]:
        """The keys of the source, once files that are about to be written anew are."""
        end = asyncio.get_running_loop().time() + _FILES
        while True:
            keys = [key for key in await self.keys() if key.held]
            waits = any(key.replicas and not (key.primary or key.values) for key in keys)
            if not waits or asyncio.get_running_loop().time() > end:
                return keys
            await asyncio.sleep(_POLL)

    async def _begin(self, before: str, judged: Callable[[Build], Build]) -> str:
        """Make another key the primary; its id."""
        fresh = self._newer_than(before) or self._added()
        await self._known_everywhere(fresh)

        def build(snapshot: Snapshot) -> Changes:
            return Changes(records={PRIMARY: fresh.encode()})

        await self._store.commit(judged(build))
        log.info("secrets are sealed with the key-encryption key %s from now on", fresh)
        return fresh

    def _newer_than(self, primary: str) -> str | None:
        """A key that was put into the source and never used: one before the primary."""
        ids = self._keyring.ids
        if primary not in ids:
            raise KekError(
                f"the key-encryption key in use is {primary}, which {self.source} does not hold: "
                "add it there before another rotation"
            )
        return ids[0] if ids[0] != primary else None

    def _added(self) -> str:
        kek = Kek.new()
        self._keyring.source.add(kek)
        self._keyring.refresh()
        if kek.id not in self._keyring.ids:
            raise KekError(f"the new key is not found in {self.source}: see the log")
        return kek.id

    async def _known_everywhere(self, kek_id: str) -> None:
        await self.presence.announce()
        end = asyncio.get_running_loop().time() + PATIENCE
        while missing := [
            name
            for name, replica in (await self.presence.replicas()).items()
            if kek_id not in replica.keys
        ]:
            if asyncio.get_running_loop().time() > end:
                raise KeysApart(
                    f"nothing was changed, for the new key {kek_id} is not known to "
                    f"{', '.join(sorted(missing))}: give them the same keys as this one has, in "
                    "NARU_KEK_FILE (which they read again by themselves) or NARU_KEK; then run "
                    "this again"
                )
            await asyncio.sleep(_POLL)

    async def _reseal(self, primary: str, seconds: float) -> Progress:
        end, done = asyncio.get_running_loop().time() + seconds, 0
        while True:
            batch = await self._store.reseal(self._keyring.rewrap)
            done += batch.values
            if not batch.puts or asyncio.get_running_loop().time() > end:
                break
        usage = (await self._store.sealed()).usage()
        others = usage.total() - usage[primary]
        unreadable = batch.failed if not batch.puts else 0  # not every one was seen else
        if done:
            log.info("%d secrets sealed with %s, %d others", done, primary, others)
        return Progress(primary, done, max(0, others - unreadable), unreadable)

    async def _open_what_opens_now(self) -> None:
        """A key that came too late for a secret opens it now."""
        self._keyring.refresh()
        ids = self._keyring.ids
        problems = self._store.reflector.problems.values()
        if ids != self._known and any(problem.code == WrongKek.code for problem in problems):
            await self._store.reflector.look_again()
        self._known = ids

    def _primary(self, listing: Listing) -> str:
        return listing.primary or self._keyring.ids[-1]

    def _describe(self) -> Replica:
        self._keyring.refresh()
        ids = self._keyring.ids
        return Replica(frozenset(ids), frozenset(self._own_uses(ids)))


def _why(key: KeyUse) -> str:
    if key.primary:
        return f"{key.id} is the one that seals"
    files = f", and files of {', '.join(key.replicas)}" if key.replicas else ""
    return f"{key.id} seals {key.values} values in etcd{files}"
