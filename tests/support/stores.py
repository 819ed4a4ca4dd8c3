"""Stores on a test's etcd, and ways to look at them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from control_plane.resources import Key, Resource
from control_plane.store import Changes, Kek, Sealer, Snapshot, Store, _wire
from control_plane.store._client import Outcome
from tests.support.documents import secret_of

KEK = Kek(bytes(range(32)))


@asynccontextmanager
async def running(*endpoints: str, kek: Kek = KEK, **options: Any) -> AsyncIterator[Store]:
    """A store that has listed etcd; ended with the block."""
    async with Store(endpoints, Sealer(kek), **options) as store:
        await store.reflector.wait_for(0, 10)
        yield store


async def put(store: Store, *resources: Resource) -> int:
    return await store.commit(lambda _: Changes({each.key: each for each in resources}))


async def delete(store: Store, *keys: Key) -> int:
    return await store.commit(lambda _: Changes(deletes=frozenset(keys)))


def secrets_in(snapshot: Snapshot) -> dict[str, str]:
    """Name → secret, of the credentials."""
    return {
        key.name: secret_of(stored.resource)
        for key, stored in snapshot.stored.items()
        if key.plural == "credentials"
    }


def before_each_write(
    monkeypatch: pytest.MonkeyPatch,
    store: Store,
    action: Callable[[], Awaitable[object]],
    times: int = 1,
) -> None:
    """Lets another writer go first: `action` runs after `build`, just before the write is sent."""
    original, left = store._client.commit, [times]

    async def commit(transaction: _wire.Transaction, timeout: float) -> Outcome:
        if left[0] > 0:
            left[0] -= 1
            await action()
        return await original(transaction, timeout)

    monkeypatch.setattr(store._client, "commit", commit)


def every_snapshot(monkeypatch: pytest.MonkeyPatch, store: Store) -> list[Snapshot]:
    """Grows with each snapshot that is published from now on, those that readers skip included."""
    seen: list[Snapshot] = []
    original = store.reflector._publish

    def publish(snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            seen.append(snapshot)
        original(snapshot)

    monkeypatch.setattr(store.reflector, "_publish", publish)
    return seen


async def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Waits until something holds that nobody tells of."""
    with anyio.fail_after(seconds):
        while not holds():  # noqa: ASYNC110 - there is no event to wait for
            await anyio.sleep(0.02)
