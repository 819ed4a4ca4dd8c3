"""One etcd and one control plane for the tests that do not hurt them."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.control_plane import ControlPlaneProcess
from tests.support.etcd import EtcdProcess

LARGE = ("--max-txn-ops=10240", "--max-request-bytes=33554432")


@pytest.fixture(scope="module")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    with EtcdProcess(tmp_path_factory.mktemp("etcd"), LARGE) as etcd:
        yield etcd


@pytest.fixture(scope="module")
def running(
    shared_etcd: EtcdProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlaneProcess]:
    with ControlPlaneProcess(tmp_path_factory.mktemp("first"), shared_etcd.endpoint) as process:
        yield process


@pytest.fixture
def http(running: ControlPlaneProcess) -> Iterator[httpx.Client]:
    """A client; what it made is deleted afterwards."""
    with running.client() as client:
        yield client
        for plural in ("proxies", "templates", "upstreams", "credentials"):
            while items := client.get(f"/api/v1/{plural}?limit=1000").json()["items"]:
                for item in items:
                    path = f"/api/v1/{plural}/{item['metadata']['name']}"
                    assert client.delete(path).status_code == 200
