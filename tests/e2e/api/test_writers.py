"""Two control planes on one etcd, writing at once: nothing is lost, nothing dangles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import pytest

from tests.support.api import proxy, template, upstream
from tests.support.control_plane import ControlPlaneProcess, until
from tests.support.etcd import EtcdProcess


@pytest.fixture(scope="module")
def other(
    shared_etcd: EtcdProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlaneProcess]:
    with ControlPlaneProcess(tmp_path_factory.mktemp("second"), shared_etcd.endpoint) as process:
        yield process


def both(*calls: Callable[[], httpx.Response]) -> list[int]:
    """The statuses of calls made at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [done.status_code for done in pool.map(lambda call: call(), calls)]


def _has_seen(client: httpx.Client, revision: int) -> bool:
    return bool(client.get("/api/v1/status").json()["revision"] >= revision)


def _replace(client: httpx.Client, team: str, etag: str) -> httpx.Response:
    headers = {"if-match": etag}
    return client.put("/api/v1/upstreams/openai", json=upstream(team=team), headers=headers)


def test_one_version_is_replaced_once(http: httpx.Client, other: ControlPlaneProcess) -> None:
    with other.client() as rival:
        for _ in range(10):
            version = http.put("/api/v1/upstreams/openai", json=upstream()).headers
            seen = int(version["x-naru-revision"])
            until(partial(_has_seen, rival, seen), 10)
            writers = ((http, "a"), (rival, "b"), (http, "c"), (rival, "d"))
            statuses = both(*(partial(_replace, c, t, version["etag"]) for c, t in writers))
            assert sorted(statuses) == [200, 409, 409, 409]


def test_a_reference_never_dangles(http: httpx.Client, other: ControlPlaneProcess) -> None:
    http.put("/api/v1/upstreams/openai", json=upstream())
    with other.client() as rival:
        for _ in range(10):
            http.put("/api/v1/templates/menu", json=template())
            named, deleted = both(
                lambda: http.put("/api/v1/proxies/menu-copy", json=proxy(template="menu")),
                lambda: rival.delete("/api/v1/templates/menu"),
            )
            assert (named, deleted) in ((201, 409), (422, 200), (201, 404), (422, 404))
            exists = http.get("/api/v1/proxies/menu-copy").status_code == 200
            if exists:
                assert http.get("/api/v1/templates/menu").status_code == 200
                http.delete("/api/v1/proxies/menu-copy")


def test_what_one_writes_the_other_shows(http: httpx.Client, other: ControlPlaneProcess) -> None:
    etag = http.put("/api/v1/upstreams/openai", json=upstream()).headers["etag"]
    with other.client() as rival:
        path = "/api/v1/upstreams/openai"
        until(lambda: rival.get(path).headers.get("etag") == etag, 10)
