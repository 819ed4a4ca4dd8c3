"""`/api/v1/{kinds}/{name}` and lists, over HTTP, on a store in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from control_plane.api import _changes
from control_plane.resources import parse
from control_plane.store import Conflict, OutcomeUnknown, StoredProblem, StoreUnavailable, TooLarge
from tests.support.api import Api, Nodes, credential, document, proxy, template, upstream

pytestmark = pytest.mark.anyio
CANARY = "sk-canary-1f0e9d8c7b6a"


def error(response: Any) -> dict[str, Any]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "problems", "request_id"}
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    for problem in body["error"]["problems"]:
        assert set(problem) == {"field", "message", "mend"}
        assert all(isinstance(part, str) and part for part in problem.values())
    found: dict[str, Any] = body["error"]
    return found


class TestWriting:
    async def test_create_replace_and_leave_alone(self, api: Api) -> None:
        created = await api.put(upstream())
        again = await api.put(upstream())
        replaced = await api.put(upstream(team="menu"))
        assert [r.status_code for r in (created, again, replaced)] == [201, 200, 200]
        assert [r.headers["etag"] for r in (created, again, replaced)] == ['"1"', '"1"', '"2"']
        assert replaced.headers["x-naru-revision"] == "2"
        assert replaced.json()["metadata"] == {
            "name": "openai", "team": "menu", "labels": {}, "annotations": {}, "revision": 2,
        }  # fmt: skip

    async def test_what_is_answered_can_be_put_again(self, api: Api) -> None:
        await api.put(upstream())
        shown = await api.call("GET", "/upstreams/openai")
        assert shown.headers["etag"] == '"1"'
        again = await api.put(shown.json())
        assert (again.status_code, again.json()) == (200, shown.json())

    async def test_yaml(self, api: Api) -> None:
        text = (
            "apiVersion: naru/v1\nkind: Template\nmetadata: {name: menu, labels: {since: 2024-01-31}}\n"
            "spec:\n  messages:\n  - {role: user, content: '{{ dish }} 소개'}\n"
        )
        headers = {"content-type": "application/yaml"}
        done = await api.call("PUT", "/templates/menu", content=text.encode(), headers=headers)
        assert done.status_code == 201
        assert done.json()["metadata"]["labels"] == {"since": "2024-01-31"}
        assert done.json()["spec"]["messages"][0]["content"] == "{{ dish }} 소개"

    async def test_patch(self, api: Api) -> None:
        await api.put(upstream())
        for content_type in ("application/merge-patch+json", "application/json"):
            done = await api.call(
                "PATCH", "/upstreams/openai", content=b'{"spec": {"timeouts": {"request": "9s"}}}',
                headers={"content-type": content_type},
            )  # fmt: skip
            assert done.json()["spec"]["timeouts"] == {
                "connect": "2s",
                "idle": "4s",
                "request": "9s",
            }
        assert done.headers["etag"] == '"2"'

    async def test_delete(self, api: Api) -> None:
        await api.put(upstream())
        done = await api.call("DELETE", "/upstreams/openai")
        assert (done.status_code, done.json()) == (
            200,
            {
                "revision": 2,
                "results": [{"kind": "Upstream", "name": "openai", "change": "deleted"}],
            },
        )
        assert (await api.call("GET", "/upstreams/openai")).status_code == 404
        assert error(await api.call("DELETE", "/upstreams/openai"))["code"] == "not_found"

    async def test_deleting_what_is_in_use(self, api: Api) -> None:
        await api.apply(proxy(template="menu"), template(), upstream())
        refused = await api.call("DELETE", "/templates/menu")
        assert refused.status_code == 409
        assert error(refused)["code"] == "in_use"
        assert error(refused)["problems"][0]["field"] == "proxies/menu-copy"

    async def test_dangling_references(self, api: Api) -> None:
        refused = await api.put(proxy(to="nowhere", template="nothing"))
        assert (refused.status_code, error(refused)["code"]) == (422, "broken_reference")
        assert len(error(refused)["problems"]) == 2
        assert not api.store.snapshot.stored

    async def test_credentials_stay_home(self, api: Api) -> None:
        await api.put(credential(allowedHosts=["api.openai.com"]))
        refused = await api.put(upstream(credential="key"))
        assert (refused.status_code, error(refused)["code"]) == (422, "broken_reference")
        assert "allowedHosts" in error(refused)["problems"][0]["message"]

    @pytest.mark.parametrize(
        ("path", "field"),
        [("/upstreams/other", "metadata.name"), ("/templates/openai", "kind")],
    )
    async def test_the_path_must_fit_the_document(self, api: Api, path: str, field: str) -> None:
        refused = await api.call("PUT", path, json=upstream())
        assert refused.status_code == 422
        assert [problem["field"] for problem in error(refused)["problems"]] == [field]

    async def test_every_problem_of_a_document_is_told(self, api: Api) -> None:
        bad = upstream()
        bad["spec"] = {"dialect": "smoke", "url": "ftp://x", "extra": 1}
        fields = [problem["field"] for problem in error(await api.put(bad))["problems"]]
        assert fields == ["spec.dialect", "spec.url", "spec.extra"]


class TestVersions:
    async def test_if_match(self, api: Api) -> None:
        await api.put(upstream())
        done = await api.put(upstream(team="a"), headers={"if-match": '"1"'})
        late = await api.put(upstream(team="b"), headers={"if-match": '"1"'})
        assert (done.status_code, late.status_code) == (200, 409)
        assert error(late)["code"] == "version_conflict"
        assert "revision 2" in error(late)["message"]
        assert "revision 1" in error(late)["message"]
        assert late.headers["etag"] == '"2"'

    @pytest.mark.parametrize("method", ["PATCH", "DELETE"])
    async def test_if_match_on_every_write(self, api: Api, method: str) -> None:
        await api.put(upstream())
        body = {"json": {"metadata": {"team": "a"}}} if method == "PATCH" else {}
        late = await api.call(method, "/upstreams/openai", headers={"if-match": '"9"'}, **body)
        assert late.status_code == 409
        done = await api.call(method, "/upstreams/openai", headers={"if-match": '"1"'}, **body)
        assert done.status_code == 200

    async def test_if_none_match(self, api: Api) -> None:
        new = {"if-none-match": "*"}
        assert (await api.put(upstream(), headers=new)).status_code == 201
        assert (await api.put(upstream(), headers=new)).status_code == 409

    async def test_metadata_revision_is_the_same_check(self, api: Api) -> None:
        await api.put(upstream(revision=0))
        assert (await api.put(upstream(revision=0, team="a"))).status_code == 409
        assert (await api.put(upstream(revision=1, team="a"))).status_code == 200
        late = await api.put(upstream(revision=1, team="b"))
        assert error(late)["problems"][0]["field"] == "metadata.revision"

    async def test_a_rival_between_reading_and_writing_is_not_overwritten(self, api: Api) -> None:
        await api.put(upstream())
        api.store.rivals = [lambda s: _changes.put(s, parse(upstream(team="rival")))]
        late = await api.put(upstream(team="mine"), headers={"if-match": '"1"'})
        assert late.status_code == 409
        assert (await api.call("GET", "/upstreams/openai")).json()["metadata"]["team"] == "rival"

    async def test_a_rival_that_deletes_what_is_named_leaves_nothing_dangling(
        self, api: Api
    ) -> None:
        await api.put(template())
        await api.put(upstream())
        api.store.rivals = [lambda s: _changes.delete(s, parse(template()).key)]
        refused = await api.put(proxy(template="menu"))
        assert (refused.status_code, error(refused)["code"]) == (422, "broken_reference")

    async def test_of_many_writers_with_one_version_one_wins(self, api: Api) -> None:
        await api.put(upstream())
        writes = [api.put(upstream(team=f"t{i}"), headers={"if-match": '"1"'}) for i in range(20)]
        codes = sorted([r.status_code for r in await asyncio.gather(*writes)])
        assert codes == [200] + [409] * 19


class TestSecrets:
    async def test_a_secret_goes_in_and_never_comes_out(
        self, api: Api, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(0)
        await api.put(credential(secret=CANARY))
        await api.put(upstream(credential="key"))
        await api.call("GET", "/credentials/key")
        await api.call("GET", "/credentials")
        await api.call("PATCH", "/credentials/key", json={"spec": {"secret": CANARY + "2"}})
        await api.call("PATCH", "/credentials/key", json={"spec": {"secret": [CANARY]}})
        await api.call("PATCH", "/credentials/key", json={"spec": {"type": CANARY}})
        await api.call("PATCH", "/credentials/key", json={"spec": {"secret": CANARY + "\n"}})
        await api.put(credential(secret=CANARY + "한"))
        await api.put(credential(secret=CANARY, allowedHosts=[CANARY + "/"]))
        await api.apply(credential(secret=CANARY + "\n"), {"kind": "Credential", "spec": CANARY})
        await api.put(credential(secret=CANARY + "3"), "?dry_run=true")
        await api.put(credential(secret=CANARY + "4"), headers={"if-match": '"99"'})
        bad = f'{{"spec": {{"secret": "{CANARY}"'.encode()
        for content_type in ("application/json", "application/yaml"):
            headers = {"content-type": content_type}
            await api.call("PUT", "/credentials/key", content=bad, headers=headers)
        api.nodes.answer = Nodes.rejecting(f"no such secret: {CANARY}5!")
        await api.put(credential(secret=CANARY + "5"), "?wait=1s")
        await api.call("DELETE", "/credentials/key")
        for path in ("/status", "/revisions/1"):
            await api.call("GET", path)
        for path in ("/metrics", "/openapi.json", "/docs", "/readyz"):
            await api.http.get(path)
        assert len(api.seen) > 20
        assert CANARY not in "".join(api.seen)
        assert CANARY not in caplog.text

    async def test_put_and_patch_without_it_keep_it(self, api: Api) -> None:
        await api.put(credential(secret=CANARY))
        kept = await api.put(credential(secret=None))
        assert kept.headers["etag"] == '"1"'
        await api.put(credential(secret=None, allowedHosts=["127.0.0.1"]))
        await api.call("PATCH", "/credentials/key", json={"metadata": {"team": "a"}})
        await api.call("PATCH", "/credentials/key", json={"spec": {"secret": None}})
        stored = api.store.snapshot.resources[parse(credential()).key]
        assert stored.to_document(reveal=True)["spec"]["secret"] == CANARY

    async def test_a_new_one_needs_it(self, api: Api) -> None:
        refused = await api.put(credential(secret=None))
        assert refused.status_code == 422
        assert error(refused)["problems"][0]["field"] == "spec.secret"


class TestLists:
    async def test_pages(self, api: Api) -> None:
        await api.apply(*(upstream(f"u{i}") for i in range(5)))
        names: list[str] = []
        query = "?limit=2"
        while query:
            body = (await api.call("GET", f"/upstreams{query}")).json()
            assert set(body) == {"items", "continue"}
            names += [item["metadata"]["name"] for item in body["items"]]
            query = f"?limit=2&continue={body['continue']}" if body["continue"] else ""
        assert names == ["u0", "u1", "u2", "u3", "u4"]

    async def test_of_a_team(self, api: Api) -> None:
        await api.apply(upstream("a"), upstream("b", team="menu"))
        body = (await api.call("GET", "/upstreams?team=menu")).json()
        assert [item["metadata"]["name"] for item in body["items"]] == ["b"]
        assert body["items"][0]["metadata"]["revision"] == 1

    async def test_of_nothing(self, api: Api) -> None:
        assert (await api.call("GET", "/templates")).json() == {"items": [], "continue": None}

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=1001", "limit=x", "continue=x", "teem=a", "limit=1&limit=2"]
    )
    async def test_what_cannot_be_read(self, api: Api, query: str) -> None:
        refused = await api.call("GET", f"/upstreams?{query}")
        assert (refused.status_code, error(refused)["code"]) == (400, "bad_request")


class TestStrangeNames:
    @pytest.mark.parametrize(
        "name",
        ["..", "%2e%2e%2fguard", "a%2fb", "a/b", "A", "a_b", "-a", "a" * 64, "%EF%BD%81", "a%00",
         "a%0d%0aset-cookie:%20x", "%D0%B0", "a.b", "%ED%A0%80", "é", "a%20"],
    )  # fmt: skip
    @pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
    async def test_are_never_found_and_never_made(self, api: Api, name: str, method: str) -> None:
        body: dict[str, Any] = {} if method in ("GET", "DELETE") else {"json": upstream("a")}
        refused = await api.call(method, f"/upstreams/{name}", **body)
        assert refused.status_code in (404, 405, 422)
        assert error(refused)
        assert not api.store.snapshot.stored
        assert "set-cookie" not in refused.headers

    @pytest.mark.parametrize(
        "name", ["ａ", "а", "a\u200b", "a\n", "a/../b", "..", "", "a\x00", "İ"]
    )
    async def test_are_not_taken_in_a_document(self, api: Api, name: str) -> None:
        refused = await api.apply(upstream(name))
        assert refused.status_code == 422
        assert error(refused)["problems"][0]["field"] == "documents[0].metadata.name"

    @pytest.mark.parametrize("path", ["/consumers/x", "/Upstreams/x", "/upstream", "/resources"])
    async def test_unknown_kinds(self, api: Api, path: str) -> None:
        refused = await api.call("GET", path)
        assert (refused.status_code, error(refused)["code"]) == (404, "unknown_kind")
        assert "credentials, proxies, templates, upstreams" in error(refused)["message"]

    async def test_unknown_paths_and_methods(self, api: Api) -> None:
        assert error(await api.http.get("/nothing"))["code"] == "not_found"
        refused = await api.call("POST", "/upstreams/a")
        assert (refused.status_code, error(refused)["code"]) == (405, "method_not_allowed")

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", "/apply", "POST"),
            ("PUT", "/keys/rotate", "POST"),
            ("DELETE", "/revisions/1", "GET"),
            ("PUT", "/tokens/abc", "DELETE"),
        ],
    )
    async def test_a_word_in_the_place_of_a_kind(
        self, api: Api, method: str, path: str, allowed: str
    ) -> None:
        refused = await api.call(method, path)
        assert (refused.status_code, refused.headers["allow"]) == (405, allowed)


class TestDryRun:
    async def test_shows_what_would_change_and_writes_nothing(self, api: Api) -> None:
        await api.put(upstream())
        tried = await api.put(proxy(), "?dry_run=true")
        assert tried.status_code == 200
        assert tried.json()["dry_run"] is True
        assert tried.json()["results"] == [
            {"kind": "Proxy", "name": "menu-copy", "change": "created"}
        ]
        changes = {(d["type"], d["change"]) for d in tried.json()["difference"]}
        assert changes == {("Plan", "added"), ("RouteConfiguration", "changed")}
        assert api.store.snapshot.revision == 1

    async def test_a_template_edit_touches_one_plan_only(self, api: Api) -> None:
        await api.apply(template(), upstream(), proxy(template="menu"))
        tried = await api.put(template(content="Sell {{ dish }}."), "?dry_run=true")
        assert [(d["type"], d["change"]) for d in tried.json()["difference"]] == [
            ("Plan", "changed")
        ]

    async def test_on_every_write(self, api: Api) -> None:
        await api.apply(upstream(), proxy())
        deleted = await api.call("DELETE", "/proxies/menu-copy?dry_run=true")
        patched = await api.call("PATCH", "/upstreams/openai?dry_run=true",
                                 json={"spec": {"timeouts": {"request": "9s"}}})  # fmt: skip
        applied = await api.apply(upstream("other"), query="?dry_run=true")
        same = await api.put(upstream(), "?dry_run=true")
        for tried in (deleted, patched, applied):
            assert tried.json()["difference"]
        assert same.json()["difference"] == []
        assert api.store.snapshot.revision == 1

    async def test_refuses_what_the_write_would(self, api: Api) -> None:
        assert (await api.put(proxy(), "?dry_run=true")).status_code == 422
        assert (await api.call("DELETE", "/proxies/x?dry_run=true")).status_code == 404

    @pytest.mark.parametrize(
        "query", ["dryrun=true", "dry-run=true", "dry_run=perhaps", "dry_run", "dry_run=1&wait=1s",
                  "dry_run=true&dry_run=false"],
    )  # fmt: skip
    async def test_a_slip_never_becomes_a_real_write(self, api: Api, query: str) -> None:
        refused = await api.put(upstream(), f"?{query}")
        assert (refused.status_code, error(refused)["code"]) == (400, "bad_request")
        assert not api.store.snapshot.stored


class TestWait:
    async def test_applied(self, api: Api) -> None:
        api.nodes.answer = Nodes.applied
        created = await api.put(upstream(), "?wait=1s")
        assert created.status_code == 201
        assert created.json()["status"] == {
            "state": "applied",
            "nodes": {"gateway-1": {"state": "applied", "detail": ""}},
            "set_aside": [],
        }
        assert (await api.put(upstream(team="a"), "?wait=500ms")).status_code == 200
        deleted = await api.call("DELETE", "/upstreams/openai?wait=1s")
        assert (deleted.status_code, deleted.json()["status"]["state"]) == (200, "applied")

    async def test_pending(self, api: Api) -> None:
        for late in (
            await api.put(upstream(), "?wait=10ms"),
            await api.apply(upstream("b"), query="?wait=10ms"),
            await api.call("DELETE", "/upstreams/b?wait=10ms"),
        ):
            assert late.status_code == 202
            assert late.json()["status"] == {
                "state": "pending",
                "nodes": {"gateway-1": {"state": "pending", "detail": "waiting for Cluster"}},
                "set_aside": [],
            }

    async def test_rejected(self, api: Api) -> None:
        api.nodes.answer = Nodes.rejecting("Cluster: no such thing")
        for number, refused in enumerate([
            await api.put(upstream(), "?wait=1s"),
            await api.call("DELETE", "/upstreams/openai?wait=1s"),
        ], 1):  # fmt: skip
            assert (refused.status_code, error(refused)["code"]) == (422, "rejected_by_node")
            assert refused.headers["x-naru-revision"] == str(number)
            problems = error(refused)["problems"]
            assert [(p["field"], p["message"]) for p in problems] == [
                ("nodes.gateway-1", "Cluster: no such thing")
            ]

    async def test_the_nodes_words_hold_no_secret(self, api: Api) -> None:
        await api.put(credential(secret=CANARY))
        api.nodes.answer = Nodes.rejecting(f"cannot use {CANARY} here")
        refused = await api.put(upstream(), "?wait=1s")
        assert error(refused)["problems"][0]["message"] == "cannot use [redacted] here"

    async def test_what_is_waited_for_is_our_own_text_and_quotes_nothing(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A thousand pending nodes must not look for secrets a thousand times."""
        looked: list[str] = []
        monkeypatch.setattr(
            type(api.state.redactor), "redacted", lambda _, text, __: looked.append(text)
        )
        await api.put(upstream(), "?wait=10ms")
        assert (await api.call("GET", "/revisions/1")).json()["state"] == "pending"
        assert not looked

    @pytest.mark.parametrize("wait", ["5", "s", "-1s", "1h", "301s", "١s", "", "1e3s"])
    async def test_what_cannot_be_read(self, api: Api, wait: str) -> None:
        assert (await api.put(upstream(), f"?wait={wait}")).status_code == 400
        assert not api.store.snapshot.stored


class TestStoreTroubles:
    @pytest.mark.parametrize(
        ("trouble", "status"),
        [
            (StoreUnavailable("etcd at h:1 cannot be reached: is it running?"), 503),
            (OutcomeUnknown("etcd fell silent during the write"), 503),
            (Conflict("others changed it"), 409),
            (TooLarge("200 documents do not fit"), 413),
        ],
    )
    async def test_are_told_as_they_are(self, api: Api, trouble: Any, status: int) -> None:
        api.store.error = trouble
        refused = await api.put(upstream())
        assert refused.status_code == status
        assert error(refused)["code"] == trouble.code
        assert error(refused)["message"] == trouble.message
        may_be_sent_again = isinstance(trouble, StoreUnavailable)
        assert ("retry-after" in refused.headers) == may_be_sent_again

    async def test_before_etcd_was_read_nothing_is_said_to_be_missing(self, api: Api) -> None:
        api.store.synced, api.store.trouble = False, "is it running?"
        for method, path in (
            ("GET", "/upstreams/openai"), ("GET", "/upstreams"), ("GET", "/revisions/1"),
            ("DELETE", "/upstreams/openai?dry_run=true"),
        ):  # fmt: skip
            refused = await api.call(method, path)
            assert (refused.status_code, error(refused)["code"]) == (503, "store_unavailable")
        assert (await api.call("GET", "/status")).status_code == 200
        assert (await api.http.get("/metrics")).status_code == 200

    async def test_what_cannot_be_read_is_not_said_to_be_missing(self, api: Api) -> None:
        problem = StoredProblem("credentials/key", 3, "wrong_kek", "sealed with another key")
        api.store.problems = {"…": problem}
        refused = await api.call("GET", "/credentials/key")
        assert (refused.status_code, error(refused)["code"]) == (500, "unreadable")
        assert "sealed with another key" in error(refused)["message"]
        assert (await api.call("GET", "/credentials/other")).status_code == 404

    async def test_reading_goes_on(self, api: Api) -> None:
        await api.put(upstream())
        api.store.error = StoreUnavailable("etcd is away")
        api.store.trouble = "etcd is away"
        assert (await api.call("GET", "/upstreams/openai")).status_code == 200
        assert (await api.call("GET", "/upstreams")).json()["items"]
        assert (await api.put(proxy(), "?dry_run=true")).status_code == 200
        assert (await api.http.get("/readyz")).status_code == 200
        assert (await api.call("GET", "/status")).json()["store"]["trouble"] == "etcd is away"


async def test_bodies_that_are_not_documents(api: Api) -> None:
    def put(content: bytes, content_type: str = "application/json") -> Any:
        headers = {"content-type": content_type}
        return api.call("PUT", "/upstreams/openai", content=content, headers=headers)

    for body in (b"", b"{", b"\xff", b'{"a": 1, "a": 2}', b"[" * 100_000):
        refused = await put(body)
        assert (refused.status_code, error(refused)["code"]) == (400, "bad_document")
    for body in (b"[]", b"null", b'"x"', b"{}"):
        assert (await put(body)).status_code == 422
    for content_type in ("text/plain", "application/json; charset=euc-kr"):
        refused = await put(b"{}", content_type)
        assert (refused.status_code, error(refused)["code"]) == (415, "unsupported_media_type")
    compressed = await api.put(upstream(), headers={"content-encoding": "gzip"})
    assert compressed.status_code == 415
    assert document("Upstream", "x", {})["kind"] == "Upstream"
    assert not api.store.snapshot.stored
