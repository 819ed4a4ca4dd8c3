"""Revisions, status, probes, metrics, docs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from control_plane.compile import CLUSTER, Compiled, Compiler, GatewaySettings, Hold
from control_plane.resources import Key, Problem, Resource
from control_plane.store import Kept, StoredProblem
from control_plane.xds import NodeStatus, TypeStatus
from tests.support.api import Api, Nodes, proxy, running_api, upstream

pytestmark = pytest.mark.anyio
REFUSED = Problem("proxies/menu-copy", "cannot be compiled today", "Try another day")


class Picky:
    """Compiles everything but snapshots that hold a proxy."""

    def __init__(self) -> None:
        self._compiler = Compiler(GatewaySettings())

    def compile(
        self, revision: int, resources: Mapping[Key, Resource], holds: Mapping[Key, Hold]
    ) -> Compiled:
        if any(key.plural == "proxies" for key in resources):
            error: Any = ValueError("no")
            error.problems = (REFUSED,)
            raise error
        return self._compiler.compile(revision, resources, holds)


class TestRevisions:
    async def test_per_node(self, api: Api) -> None:
        await api.put(upstream())
        api.nodes.answer = Nodes.rejecting("Cluster: bad")
        response = await api.call("GET", "/revisions/1")
        assert response.json() == {
            "revision": 1,
            "state": "rejected",
            "nodes": {
                "gateway-1": {"state": "rejected", "detail": "Cluster: bad"},
                "gateway-2": {"state": "pending", "detail": ""},
            },
            "set_aside": [],
            "problems": [],
        }

    @pytest.mark.parametrize("revision", ["2", "99999999999999"])
    async def test_of_the_future(self, api: Api, revision: str) -> None:
        await api.put(upstream())
        assert (await api.call("GET", f"/revisions/{revision}")).status_code == 404

    @pytest.mark.parametrize("revision", ["-1", "x", "1.5", "9" * 30, "١"])
    async def test_that_are_none(self, api: Api, revision: str) -> None:
        assert (await api.call("GET", f"/revisions/{revision}")).status_code in (400, 404)


class TestWhatCannotBeCompiled:
    async def test_is_shown_and_leaves_the_last_good_one(self) -> None:
        async with running_api(compiler=Picky) as api:
            api.nodes.answer = Nodes.applied
            await api.put(upstream(), "?wait=5s")
            refused = await api.put(proxy(), "?wait=5s")
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "not_compilable")
            assert refused.headers["x-naru-revision"] == "2"
            shown = (await api.call("GET", "/revisions/2")).json()
            assert shown["state"] == "rejected"
            assert shown["problems"][0]["message"] == REFUSED.message
            assert (await api.call("GET", "/revisions/1")).json()["state"] == "applied"
            status = (await api.call("GET", "/status")).json()
            assert (status["revision"], status["compiled_revision"]) == (2, 1)
            assert status["compile_problems"]
            assert api.nodes.targets[-1] == 1
            assert (await api.http.get("/readyz")).status_code == 200

    async def test_is_refused_by_a_dry_run(self) -> None:
        async with running_api(compiler=Picky) as api:
            await api.put(upstream())
            refused = await api.put(proxy(), "?dry_run=true")
            assert (refused.status_code, refused.json()["error"]["code"]) == (422, "not_compilable")
            assert api.store.snapshot.revision == 1

    async def test_is_over_with_the_next_good_one(self) -> None:
        async with running_api(compiler=Picky) as api:
            api.nodes.answer = Nodes.applied
            await api.apply(upstream(), proxy())
            mended = await api.call("DELETE", "/proxies/menu-copy?wait=5s")
            assert mended.status_code == 200
            assert (await api.call("GET", "/status")).json()["compile_problems"] == []


class TestReadiness:
    async def test_needs_etcd_once(self, api: Api) -> None:
        api.store.synced, api.store.trouble = False, "etcd at h:1 cannot be reached"
        response = await api.http.get("/readyz")
        assert response.status_code == 503
        assert response.json() == {
            "status": "not ready",
            "missing": ["etcd has not been read"],
            "degraded": [],
        }
        assert "h:1" in (await api.call("GET", "/status")).text

    async def test_needs_something_compiled(self) -> None:
        async with running_api(compiler=Broken) as api:
            await api.compilation.wait_for(0, 5)
            response = await api.http.get("/readyz")
            assert response.status_code == 503
            assert response.json()["missing"] == ["nothing has been compiled yet (problems: 1)"]
            assert (await api.call("GET", "/status")).json()["compile_problems"]
            assert (await api.http.get("/healthz")).status_code == 200

    async def test_comes_with_the_first_target(self, api: Api) -> None:
        await api.compilation.wait_for(0, 5)
        ready = {"status": "ready", "missing": [], "degraded": []}
        assert (await api.http.get("/readyz")).json() == ready

    async def test_says_what_is_not_as_it_should_be(self, api: Api) -> None:
        await api.compilation.wait_for(0, 5)
        api.store.trouble, api.store.unsaved = "is it running?", "No space left on device"
        api.store.restored = Kept(1, 7, 1_700_000_000.0, [])
        response = await api.http.get("/readyz")
        assert response.status_code == 200
        shown = response.json()["degraded"]
        saved, away, unsaved = (await api.call("GET", "/status")).json()["store"]["degraded"]
        assert shown[0] == saved
        assert "revision 0" in saved
        assert "2023-11-14T22:13:20+00:00" in saved
        assert "is it running?" in away
        assert "No space left on device" in unsaved
        assert shown[1:] == [
            "etcd is away, so nothing can be written",
            "the newest revision is not saved for a start without etcd",
        ]


class Broken:
    """Never compiles anything."""

    def compile(
        self, revision: int, resources: Mapping[Key, Resource], holds: Mapping[Key, Hold]
    ) -> Compiled:
        raise KeyError("upstreams/gone")


async def test_status(api: Api) -> None:
    types = {CLUSTER: TypeStatus("v1", True, "bad cluster")}
    api.nodes.known = (NodeStatus("gateway-1", "naru", "envoy/1.40", True, 1, types),)
    api.store.problems = {"x": StoredProblem("credentials/a", 3, "wrong_kek", "another key")}
    await api.apply(upstream("a"), upstream("b"))
    await api.compilation.wait_for(1, 5)
    api.nodes.answer = api.nodes.rejecting("bad cluster")
    assert (await api.call("GET", "/status")).json() == {
        "revision": 1,
        "state": "rejected",
        "refused": {"gateway-1": "bad cluster"},
        "compiled_revision": 1,
        "compile_problems": [],
        "set_aside": [],
        "store": {
            "synced": True,
            "trouble": None,
            "degraded": [],
            "unreadable": [{"key": "credentials/a", "code": "wrong_kek", "message": "another key"}],
        },
        "expiring": [],
        "resources": {"upstreams": 2},
        "nodes": [
            {
                "id": "gateway-1",
                "cluster": "naru",
                "user_agent": "envoy/1.40",
                "connected": True,
                "control_plane": "",
                "silent": False,
                "as_last_seen": False,
                "applied_revision": 1,
                "types": {"Cluster": {"version": "v1", "pending": True, "error": "bad cluster"}},
            }
        ],
    }


async def test_metrics(api: Api) -> None:
    types = {CLUSTER: TypeStatus("v1", False, "bad cluster")}
    api.nodes.known = (
        NodeStatus("a", "naru", "", True, 1, types), NodeStatus("b", "naru", "", False, 1, {}),
    )  # fmt: skip
    await api.put(upstream())
    await api.put(upstream())
    await api.compilation.wait_for(1, 5)
    text = (await api.http.get("/metrics")).text
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["naru_writes_total", "Upstream", "created"] == 1
    assert samples["naru_writes_total", "Upstream", "unchanged"] == 1
    assert samples["naru_compile_seconds_count",] >= 1
    assert samples["naru_reflector_revision",] == samples["naru_compiled_revision",] == 1
    assert samples["naru_xds_connected_nodes",] == 1
    assert samples["naru_xds_rejected_types",] == 1
    assert samples["naru_api_requests_total", "201", "PUT"] == 1


class TestDocs:
    async def test_the_document_describes_every_route(self, api: Api) -> None:
        document = (await api.http.get("/openapi.json")).json()
        assert set(document["paths"]["/api/v1/{kinds}/{name}"]) == {"get", "put", "patch", "delete"}
        assert "/api/v1/apply" in document["paths"]
        missing = [ref for ref in _references(document) if not _find(document, ref)]
        assert not missing

    async def test_the_page_needs_no_network(self, api: Api) -> None:
        response = await api.http.get("/docs")
        assert "default-src 'none'" in response.headers["content-security-policy"]
        page = _Page()
        page.feed(response.text)
        assert page.links == ["/openapi.json"]
        assert "PUT /api/v1/{kinds}/{name}" in response.text


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe")
        self.links += [value for name, value in attrs if name in ("href", "src")]


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()


def _find(document: Any, reference: str) -> bool:
    for part in reference.removeprefix("#/").split("/"):
        if part not in document:
            return False
        document = document[part]
    return True


async def test_many_waiters_are_all_told(api: Api) -> None:
    waiting = [api.compilation.wait_for(1, 5) for _ in range(20)]
    outcomes, _ = await asyncio.gather(asyncio.gather(*waiting), api.put(upstream()))
    assert all(outcome is not None and outcome.revision == 1 for outcome in outcomes)
