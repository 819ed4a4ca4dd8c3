"""`?wait` and revisions, with nodes that really speak ADS."""

from __future__ import annotations

import httpx

from tests.support.api import proxy, template, upstream
from tests.support.control_plane import AdsClient, ControlPlaneProcess, until

WORDS = "Error adding/updating cluster: no healthy upstream in sight"


def connected(http: httpx.Client) -> set[str]:
    nodes = http.get("/api/v1/status").json()["nodes"]
    return {node["id"] for node in nodes if node["connected"]}


def test_applied_once_every_node_has_acknowledged(
    running: ControlPlaneProcess, http: httpx.Client
) -> None:
    with AdsClient(running.xds, "one"), AdsClient(running.xds, "two"):
        until(lambda: connected(http) == {"one", "two"}, 10)
        done = http.put("/api/v1/upstreams/openai?wait=10s", json=upstream())
        assert (done.status_code, done.json()["status"]["state"]) == (201, "applied")
        nodes = done.json()["status"]["nodes"]
        assert {name: nodes[name]["state"] for name in ("one", "two")} == {
            "one": "applied",
            "two": "applied",
        }
        revision = done.headers["x-naru-revision"]
        assert http.get(f"/api/v1/revisions/{revision}").json()["state"] == "applied"
    until(lambda: not connected(http), 10)


def test_pending_while_one_is_silent(running: ControlPlaneProcess, http: httpx.Client) -> None:
    with AdsClient(running.xds, "quick"), AdsClient(running.xds, "silent") as silent:
        until(lambda: connected(http) == {"quick", "silent"}, 10)
        assert http.put("/api/v1/upstreams/openai?wait=10s", json=upstream()).status_code == 201
        silent.answering = False
        late = http.put("/api/v1/upstreams/late?wait=300ms", json=upstream("late"))
        assert late.status_code == 202
        assert late.json()["status"]["nodes"]["silent"]["state"] == "pending"


def test_rejected_with_the_nodes_words_and_mended(
    running: ControlPlaneProcess, http: httpx.Client
) -> None:
    with AdsClient(running.xds, "fussy", refuses=b"worse", words=WORDS):
        until(lambda: "fussy" in connected(http), 10)
        documents = [template(), upstream(), proxy(template="menu")]
        done = http.post("/api/v1/apply?wait=10s", json=documents)
        assert done.status_code == 200, done.text
        refused = http.put("/api/v1/upstreams/worse?wait=10s", json=upstream("worse"))
        assert refused.status_code == 422
        assert refused.json()["error"]["code"] == "rejected_by_node"
        (problem,) = refused.json()["error"]["problems"]
        assert problem["field"] == "upstreams/worse"
        assert f"fussy refused it: {WORDS}" in problem["message"]
        revision = refused.headers["x-naru-revision"]
        shown = http.get(f"/api/v1/revisions/{revision}").json()
        assert shown["state"] == "rejected"
        assert WORDS in shown["nodes"]["fussy"]["detail"]
        mended = http.delete("/api/v1/upstreams/worse?wait=10s")
        assert mended.status_code == 200, mended.text


def test_nobody_connected_is_pending(http: httpx.Client) -> None:
    until(lambda: not connected(http), 10)
    done = http.put("/api/v1/upstreams/openai?wait=50ms", json=upstream())
    assert (done.status_code, done.json()["status"]["state"]) == (202, "pending")
