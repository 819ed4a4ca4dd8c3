"""What the tests of the transports share."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ext_proc.transport import TRANSPORTS, TransportFactory


@pytest.fixture(scope="session")
async def one_loop() -> AsyncIterator[None]:
    """Keeps the event loop for all tests: grpcio tells the end of a cancelled call a moment later."""
    yield  # noqa: PT022 - a `return` would let go of the loop


@pytest.fixture(params=sorted(TRANSPORTS))
def make(request: pytest.FixtureRequest, one_loop: None) -> TransportFactory:
    return TRANSPORTS[request.param]


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="naru") as directory:  # short: sun_path has 108 bytes
        yield Path(directory) / "p.sock"
