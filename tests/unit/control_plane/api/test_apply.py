"""`POST /api/v1/apply`, over HTTP, on a store in memory."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from control_plane.settings import ApiLimits
from tests.support.api import Api, Nodes, credential, proxy, running_api, template, upstream
from tests.unit.control_plane.api.test_yaml import BOMB

pytestmark = pytest.mark.anyio
ALL = [proxy(template="menu"), template(), upstream(credential="key"), credential()]


async def test_order_does_not_matter(api: Api) -> None:
    for documents in itertools.permutations(ALL):
        async with running_api() as fresh:
            done = await fresh.apply(*documents)
            assert done.status_code == 200
            assert done.json()["revision"] == 1
            names = [(result["kind"], result["name"]) for result in done.json()["results"]]
            assert names == [(d["kind"], d["metadata"]["name"]) for d in documents]


async def test_results_say_what_became_of_each(api: Api) -> None:
    await api.apply(*ALL)
    changed = template(content="Sell {{ dish }}.")
    done = await api.apply(credential(secret=None), changed, upstream("new"))
    assert done.json() == {
        "revision": 2,
        "results": [
            {"kind": "Credential", "name": "key", "change": "unchanged"},
            {"kind": "Template", "name": "menu", "change": "updated"},
            {"kind": "Upstream", "name": "new", "change": "created"},
        ],
    }
    again = await api.apply(*ALL[2:], query="?wait=10ms")
    assert again.json()["revision"] == 2
    assert {result["change"] for result in again.json()["results"]} == {"unchanged"}


async def test_status_with_wait(api: Api) -> None:
    api.nodes.answer = Nodes.applied
    done = await api.apply(*ALL, query="?wait=1s")
    assert done.status_code == 200
    assert done.json()["status"]["nodes"] == {"gateway-1": {"state": "applied", "detail": ""}}


@pytest.mark.parametrize("body", ["yaml", "json-list", "json-object", "yaml-list"])
async def test_ways_to_write_many(api: Api, body: str) -> None:
    documents = [upstream("a"), upstream("b")]
    text = {
        "yaml": "---\n" + "\n---\n".join(map(json.dumps, documents)),
        "yaml-list": json.dumps(documents),
        "json-list": json.dumps(documents),
        "json-object": json.dumps(documents[0]),
    }[body]
    headers = {"content-type": f"application/{body.partition('-')[0]}"}
    done = await api.call("POST", "/apply", content=text.encode(), headers=headers)
    assert len(done.json()["results"]) == (1 if body == "json-object" else 2)


async def test_all_or_nothing_and_all_problems_at_once(api: Api) -> None:
    bad = template()
    bad["spec"]["messages"] = []
    refused = await api.apply(
        upstream(), bad, proxy(to="nowhere", template="menu"), credential(secret=None), upstream()
    )
    assert refused.status_code == 422
    problems = refused.json()["error"]["problems"]
    assert [problem["field"] for problem in problems] == [
        "documents[1].spec.messages",
        "documents[4]",
        "documents[3].spec.secret",
        "documents[2]",
    ]
    assert "upstreams/nowhere" in problems[3]["message"]
    assert not api.store.snapshot.stored


async def test_versions(api: Api) -> None:
    await api.apply(*ALL)
    refused = await api.apply(upstream("new"), upstream(labels={"a": "b"}, revision=9))
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "version_conflict")
    assert api.store.snapshot.revision == 1


async def test_limits() -> None:
    async with running_api(ApiLimits(max_documents=3, max_apply_bytes=2000)) as api:
        many = await api.apply(*(upstream(f"u{i}") for i in range(4)))
        large = await api.apply(template(content="x" * 3000))
        for refused in (many, large):
            assert refused.status_code == 413
            assert refused.json()["error"]["code"] == "body_too_large"
        assert not api.store.snapshot.stored
        assert (await api.apply(*(upstream(f"u{i}") for i in range(3)))).status_code == 200


@pytest.mark.parametrize("path", ["/apply", "/upstreams/openai"])
async def test_a_yaml_bomb(api: Api, path: str) -> None:
    method = "POST" if path == "/apply" else "PUT"
    headers = {"content-type": "application/yaml"}
    refused = await api.call(method, path, content=BOMB.encode(), headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_document")
    assert "aliases are not allowed" in refused.json()["error"]["message"]


@pytest.mark.parametrize("content", [b"", b"[]", b"\n"])
async def test_nothing_is_no_apply(api: Api, content: bytes) -> None:
    headers = {"content-type": "application/json"}
    assert (await api.call("POST", "/apply", content=content, headers=headers)).status_code == 400


async def test_five_thousand_documents(api: Api) -> None:
    documents: list[Any] = [upstream(f"u{i}", credential="key") for i in range(4_999)]
    done = await api.apply(*documents, credential())
    assert done.status_code == 200
    assert len(api.store.snapshot.stored) == 5_000
