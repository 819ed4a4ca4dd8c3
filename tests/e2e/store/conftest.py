"""One etcd for the tests that leave it whole; each has a prefix of its own in it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from control_plane.store import Store
from tests.support.etcd import EtcdProcess
from tests.support.stores import running


@pytest.fixture(scope="session", autouse=True)
async def one_loop() -> AsyncIterator[None]:
    """Keeps the event loop for all tests.

    grpcio tells the end of a cancelled call a moment later, to the loop that made the call; were it
    closed by then, the next test's loop would get the error.
    """
    yield  # noqa: PT022 - a `return` would let go of the loop


@pytest.fixture(scope="package")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    with EtcdProcess(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[EtcdProcess]:
    """For tests that hurt it."""
    with EtcdProcess(tmp_path / "etcd") as etcd:
        yield etcd


@pytest.fixture
def prefix() -> str:
    return f"/test-{secrets.token_hex(6)}"


@pytest.fixture
async def store(shared_etcd: EtcdProcess, prefix: str) -> AsyncIterator[Store]:
    async with running(shared_etcd.endpoint, prefix=prefix) as store:
        yield store


@pytest.fixture
async def other(shared_etcd: EtcdProcess, prefix: str) -> AsyncIterator[Store]:
    """A second process's store on the same data."""
    async with running(shared_etcd.endpoint, prefix=prefix) as store:
        yield store
