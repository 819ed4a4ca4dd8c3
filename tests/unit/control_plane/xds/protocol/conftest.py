"""The contract of both variants: a peer of each."""

from __future__ import annotations

import pytest

from tests.unit.control_plane.xds.protocol._peer import Peer


@pytest.fixture(params=["sotw", "delta"])
def peer(request: pytest.FixtureRequest) -> Peer:
    return Peer(request.param)


@pytest.fixture
def sotw() -> Peer:
    return Peer("sotw")


@pytest.fixture
def delta() -> Peer:
    return Peer("delta")
