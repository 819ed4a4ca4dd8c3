"""Who may do what, over HTTP: a table of roles, teams and kinds, and the ways around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from control_plane.api import _changes, create_app
from control_plane.resources import Key
from control_plane.store import Changes, StoredProblem
from control_plane.xds import NodeStatus, TypeStatus
from tests.support.access import KINDS, SPECS, As, holder, of_team, whole_team
from tests.support.api import (
    TOKEN,
    Api,
    Nodes,
    credential,
    document,
    path_of,
    running_api,
    upstream,
)

pytestmark = pytest.mark.anyio

RELATIONS = ("own", "shared", "foreign")
TEAMS = {"own": "a", "shared": "b", "foreign": "c"}
READERS = {"admin", "operator", "developer", "viewer"}
EVERYWHERE = {"admin", "operator"}


def expected_read(role: str, relation: str, kind: str) -> int:
    if role in EVERYWHERE:
        return 200
    readable = role in READERS or kind in ("Template", "Proxy", "Upstream")
    return 200 if readable and relation != "foreign" else 404


def expected_write(role: str, relation: str, kind: str, hidden: int) -> int:
    if role in EVERYWHERE:
        return 200
    writer = role == "developer" or (role == "prompt-editor" and kind == "Template")
    if not writer:
        return 403
    return {"own": 200, "shared": 403, "foreign": hidden}[relation]


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[tuple[Api, dict[str, As]]]:
    """Three teams; `b` shares with `a`. Nothing here changes what is stored."""
    async with running_api() as api:
        shared = whole_team("b", sharedWith=["a"])
        done = await api.apply(*whole_team("a"), *shared, *whole_team("c"))
        assert done.status_code == 200, done.text
        every = {"admin": ["*"], "operator": ["*"]}
        roles = ("admin", "operator", "developer", "prompt-editor", "viewer")
        yield api, {role: await holder(api, role, teams=every.get(role, ["a"])) for role in roles}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("role", ["admin", "operator", "developer", "prompt-editor", "viewer"])
async def test_the_table(
    world: tuple[Api, dict[str, As]], role: str, relation: str, kind: str
) -> None:
    api, holders = world
    who, team = holders[role], TEAMS[relation]
    before = api.store.snapshot
    known = {"own": [], "shared": ["a"], "foreign": []}[relation]
    resource = of_team(kind, team, labels={"by": role}, **({"sharedWith": known} if known else {}))
    path, read = path_of(resource), expected_read(role, relation, kind)
    wrote, patched = (expected_write(role, relation, kind, hidden) for hidden in (403, 404))

    assert (await who.call("GET", path)).status_code == read
    listed = (await who.call("GET", f"/{path.split('/')[1]}")).json()["items"]
    assert (resource["metadata"]["name"] in {i["metadata"]["name"] for i in listed}) is (
        read == 200
    )
    assert (await who.put(resource, "?dry_run=true")).status_code == wrote
    assert (await who.apply(resource, query="?dry_run=true")).status_code == wrote
    patch: Any = {"metadata": {"labels": {"by": role}}}
    answer = await who.call("PATCH", f"{path}?dry_run=true", json=patch)
    assert answer.status_code == patched
    spare = path if kind != "Template" else f"/templates/{team}-spare"
    removed = (await who.call("DELETE", f"{spare}?dry_run=true")).status_code
    in_use = 409 if patched == 200 and kind in ("Upstream", "Credential") else patched
    assert removed == in_use
    assert api.store.snapshot is before


@pytest.mark.parametrize("role", ["admin", "operator", "developer", "prompt-editor", "viewer"])
async def test_tokens_and_the_trail_are_the_admins(
    world: tuple[Api, dict[str, As]], role: str
) -> None:
    api, holders = world
    before = api.store.snapshot
    for method, path in (
        ("GET", "/tokens"),
        ("POST", "/tokens"),
        ("DELETE", "/tokens/0123456789ab"),
        ("GET", "/audit"),
        ("GET", "/audit/verification"),
    ):
        code = (await holders[role].call(method, path, json={})).status_code
        assert (code == 403) is (role != "admin")
    assert (await holders[role].call("GET", "/whoami")).json()["roles"] == [role]
    assert api.store.snapshot is before


async def test_a_refusal_says_the_next_step(world: tuple[Api, dict[str, As]]) -> None:
    _, holders = world
    refused = (await holders["prompt-editor"].put(of_team("Proxy", "a"))).json()["error"]
    assert refused["code"] == "forbidden"
    assert refused["problems"][0]["mend"].endswith("admin or operator or developer")
    refused = (await holders["developer"].put(of_team("Template", "c", "new"))).json()["error"]
    assert refused["problems"][0]["field"] == "metadata.team"
    assert refused["problems"][0]["mend"] == "Write one of these: a"


async def test_a_route_that_forgets_to_ask_is_the_admins() -> None:
    async with running_api() as api:
        operator = await holder(api, "operator", teams=["*"])
        app = create_app(api.state)

        @app.get("/api/v1/a/forgotten/route")
        async def forgotten() -> str:
            return "told"

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
            path = "/api/v1/a/forgotten/route"
            assert (await http.get(path, headers=operator.headers)).status_code == 403
            admin = {"authorization": f"Bearer {TOKEN}"}
            assert (await http.get(path, headers=admin)).status_code == 200


async def test_every_route_asks(api: Api) -> None:
    """Beside those that need no token; the table above says what each is for."""
    viewer = await holder(api, "viewer", teams=["a"])
    answers = [
        await viewer.call(method, path, json={})
        for method, path in (
            ("GET", "/whoami"), ("GET", "/status"), ("GET", "/revisions/1"), ("GET", "/templates"),
        )
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [200] * 4


class TestWaysAround:
    """What a developer of team `a` may try."""

    @pytest.fixture
    async def dev(self, api: Api) -> As:
        done = await api.apply(*whole_team("a"), *whole_team("b"))
        assert done.status_code == 200
        return await holder(api, "developer")

    async def test_a_taken_name_tells_nothing_else(self, api: Api, dev: As) -> None:
        refused = await dev.put(of_team("Credential", "a", "b-credential"))
        assert refused.status_code == 403
        assert refused.json()["error"]["problems"] == [
            {
                "field": "credentials/b-credential",
                "message": "the name is taken by another team",
                "mend": "Choose another name",
            }
        ]
        assert "etag" not in refused.headers

    async def test_what_is_hidden_looks_like_what_is_not_there(self, dev: As) -> None:
        for method in ("GET", "PATCH", "DELETE"):
            hidden = await dev.call(method, "/proxies/b-proxy", json={})
            missing = await dev.call(method, "/proxies/b-prosy", json={})
            assert hidden.status_code == missing.status_code == 404
            same = hidden.json()["error"]["message"].replace("b-proxy", "b-prosy")
            assert same == missing.json()["error"]["message"]

    async def test_preconditions_are_no_oracle(self, dev: As) -> None:
        answers = set()
        for etag in ('"1"', '"999"', "*"):
            headers = {"if-match": etag}
            resource = of_team("Upstream", "a", "b-upstream")
            done = await dev.call("PUT", path_of(resource), json=resource, headers=headers)
            answers.add((done.status_code, done.json()["error"]["message"]))
        assert len(answers) == 1

    @pytest.mark.parametrize("team", ["b", "default", "new"])
    async def test_nothing_is_given_to_another_team(self, api: Api, dev: As, team: str) -> None:
        moved = of_team("Template", "a", "a-spare")
        moved["metadata"]["team"] = team
        assert (await dev.put(moved)).status_code == 403
        assert (await dev.apply(moved)).status_code == 403
        patch = {"metadata": {"team": team}}
        assert (await dev.call("PATCH", "/templates/a-spare", json=patch)).status_code == 403
        assert api.store.snapshot.resources[Key("templates", "a-spare")].metadata.team == "a"

    async def test_a_patch_to_no_team_is_one_to_the_default(self, api: Api, dev: As) -> None:
        for patch in ({"metadata": {"team": None}}, {"metadata": None}, {"metadata": {"team": 7}}):
            done = await dev.call("PATCH", "/templates/a-spare", json=patch)
            assert done.status_code in (403, 422)
        assert api.store.snapshot.resources[Key("templates", "a-spare")].metadata.team == "a"

    async def test_who_is_in_both_teams_may_move(self, api: Api, dev: As) -> None:
        both = await holder(api, "developer", teams=["a", "b"])
        patch = {"metadata": {"team": "b"}}
        assert (await both.call("PATCH", "/templates/a-spare", json=patch)).status_code == 200
        assert (await dev.call("GET", "/templates/a-spare")).status_code == 404

    async def test_one_foreign_document_stops_an_apply(self, api: Api, dev: As) -> None:
        before = api.store.snapshot
        refused = await dev.apply(of_team("Template", "a", "new"), of_team("Template", "b"))
        assert refused.status_code == 403
        assert {p["field"] for p in refused.json()["error"]["problems"]} == {
            "documents[1]", "documents[1].metadata.team",
        }  # fmt: skip
        assert api.store.snapshot is before

    async def test_so_it_does_beside_a_broken_document(self, dev: As) -> None:
        refused = await dev.apply({"kind": "nothing"}, of_team("Template", "b"))
        assert refused.status_code == 403

    @pytest.mark.parametrize("query", ["", "?dry_run=true"])
    async def test_a_reference_does_not_tell_what_other_teams_have(
        self, api: Api, dev: As, query: str
    ) -> None:
        async def words(name: str) -> list[str]:
            spec = {"upstreams": [{"name": name, "credential": name}], "template": name}
            one = document("Proxy", "guess", spec, team="a")
            answers = [await dev.put(one, query), await dev.apply(one, query=query)]
            assert {answer.status_code for answer in answers} == {422}
            return [
                str(answer.json()["error"] | {"request_id": ""}).replace(name, "NAME")
                for answer in answers
            ]

        for team_has in ("upstream", "credential", "template"):
            await api.put(of_team(team_has.capitalize(), "b", "taken"))
            assert await words("taken") == await words("nobodys"), team_has

    @pytest.mark.parametrize("hosts", [["127.0.0.1"], []])
    async def test_no_way_to_another_teams_credential(
        self, api: Api, dev: As, hosts: list[str]
    ) -> None:
        await api.put(
            credential("b-open", allowedHosts=hosts) | {"metadata": {"name": "b-open", "team": "b"}}
        )
        before = api.store.snapshot
        names = ("b-open", "b-credential")
        for name in names:
            evil = upstream("evil", name, team="a")
            direct = document(
                "Proxy",
                "evil",
                {"upstreams": [{"name": "a-upstream", "credential": name}]},
                team="a",
            )
            for resource in (evil, direct):
                refused = await dev.put(resource)
                assert refused.status_code == 422
                assert "not shared with 'a'" in refused.text
                assert "allowedHosts" not in refused.text
            for patch in (
                {"spec": {"allowedHosts": ["evil.example"]}},
                {"metadata": {"sharedWith": ["a"]}},
            ):
                assert (
                    await dev.call("PATCH", f"/credentials/{name}", json=patch)
                ).status_code == 404
            assert (
                await dev.call(
                    "PATCH", "/upstreams/a-upstream", json={"spec": {"credential": name}}
                )
            ).status_code == 422
        own = document(
            "Credential", "a-other", SPECS["Credential"] | {"allowedHosts": ["x.example"]}, team="a"
        )
        spec = {"upstreams": [{"name": "b-upstream", "credential": "a-other"}]}
        refused = await dev.apply(own, document("Proxy", "evil", spec, team="a"))
        assert refused.status_code == 422
        assert "127.0.0.1" not in refused.text
        assert api.store.snapshot is before

    async def test_a_shared_upstream_cannot_be_turned_around(self, api: Api, dev: As) -> None:
        """`a` shares its upstream, `b` sends its own key there: `a` cannot move it elsewhere."""
        await dev.call("PATCH", "/upstreams/a-upstream", json={"metadata": {"sharedWith": ["b"]}})
        user = document(
            "Proxy",
            "guest",
            {"upstreams": [{"name": "a-upstream", "credential": "b-credential"}]},
            team="b",
        )
        assert (await api.put(user)).status_code == 201
        patch = {"spec": {"url": "https://evil.example/v1"}}
        refused = await dev.call("PATCH", "/upstreams/a-upstream", json=patch)
        assert refused.status_code == 422
        assert {p["field"] for p in refused.json()["error"]["problems"]} == {
            "proxies/a-proxy",
            "another team",
        }
        for word in ("guest", "b-credential"):
            assert word not in refused.text

    async def test_an_open_credential_goes_to_no_other_teams_upstream(
        self, api: Api, dev: As
    ) -> None:
        await dev.call("PATCH", "/upstreams/a-upstream", json={"metadata": {"sharedWith": ["*"]}})
        loose = document("Credential", "loose", {"type": "bearer", "secret": "sk-x"}, team="b")
        user = document(
            "Proxy",
            "guest",
            {"upstreams": [{"name": "a-upstream", "credential": "loose"}]},
            team="b",
        )
        refused = await api.apply(loose, user)
        assert refused.status_code == 422
        assert "allowedHosts" in refused.text

    async def test_what_cannot_be_read_is_nobody_elses(self, api: Api, dev: As) -> None:
        lost = StoredProblem("credentials/lost", 3, "wrong_kek", "another key")
        api.store.problems = {"x": lost}
        assert (await dev.put(of_team("Credential", "a", "lost"))).status_code == 403
        assert (await dev.call("GET", "/credentials/lost")).status_code == 404
        assert (await api.call("GET", "/credentials/lost")).status_code == 500
        assert (await api.put(of_team("Credential", "a", "lost"))).status_code == 201

    async def test_a_write_is_judged_on_what_it_changes(self, api: Api, dev: As) -> None:
        """Another writer takes the name first: the second look refuses."""
        rival = of_team("Template", "b", "fresh")
        api.store.rivals = [lambda s: _changes.put(s, _parsed(rival))]
        assert (await dev.put(of_team("Template", "a", "fresh"))).status_code == 403
        assert api.store.snapshot.resources[Key("templates", "fresh")].metadata.team == "b"

    async def test_a_revoked_token_does_not_write(self, api: Api, dev: As) -> None:
        """Not even when this replica learns of the revocation within the write."""
        record = f"tokens/{dev.id}"
        api.store.rivals = [lambda s: Changes(records={record: None})]
        assert (await dev.put(of_team("Template", "a", "late"))).status_code == 401
        assert Key("templates", "late") not in api.store.snapshot.stored

    async def test_a_list_counts_and_continues_over_what_is_seen(self, api: Api, dev: As) -> None:
        await api.apply(*(of_team("Template", "ab"[i % 2], f"t{i}") for i in range(8)))
        names, more = [], ""
        while True:
            page = (await dev.call("GET", f"/templates?limit=1{more}")).json()
            names += [item["metadata"]["name"] for item in page["items"]]
            if not page["continue"]:
                break
            more = f"&continue={page['continue']}"
        assert names == ["a-spare", "a-template", "t0", "t2", "t4", "t6"]


def _parsed(resource: dict[str, Any]) -> Any:
    from control_plane.resources import parse

    return parse(resource)


class TestSharing:
    async def test_only_what_is_shared_can_be_named(self, api: Api) -> None:
        await api.apply(*whole_team("a"), *whole_team("b"))
        spec = {"upstreams": [{"name": "b-upstream"}], "template": "b-template"}
        guest = document("Proxy", "guest", spec, team="a")
        refused = await api.put(guest)
        assert (refused.status_code, len(refused.json()["error"]["problems"])) == (422, 2)
        patch = {"metadata": {"sharedWith": ["a"]}}
        for path in ("/upstreams/b-upstream", "/templates/b-template"):
            assert (await api.call("PATCH", path, json=patch)).status_code == 200
        assert (await api.put(guest)).status_code == 201

    @pytest.mark.parametrize("change", [
        {"sharedWith": None}, {"sharedWith": ["c"]}, {"sharedWith": []}, {"team": "c"},
    ])  # fmt: skip
    async def test_what_is_used_stays_shared(self, api: Api, change: dict[str, Any]) -> None:
        await api.apply(*whole_team("b", sharedWith=["a"]))
        spec = {"upstreams": [{"name": "b-upstream"}]}
        await api.put(document("Proxy", "guest", spec, team="a"))
        refused = await api.call("PATCH", "/upstreams/b-upstream", json={"metadata": change})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "in_use")
        user = "proxies/b-proxy" if "team" in change else "proxies/guest"
        assert user in {p["field"] for p in refused.json()["error"]["problems"]}

    async def test_its_users_are_named_to_those_who_see_them(self, api: Api) -> None:
        await api.apply(*whole_team("b", sharedWith=["a"]))
        await api.put(document("Proxy", "guest", {"upstreams": [{"name": "b-upstream"}]}, team="a"))
        owner = await holder(api, "developer", teams=["b"])
        withdrawn = {"metadata": {"sharedWith": None}}
        for done in (
            await owner.call("PATCH", "/upstreams/b-upstream", json=withdrawn),
            await owner.call("DELETE", "/upstreams/b-upstream"),
        ):
            assert done.status_code == 409
            assert "guest" not in done.text
            assert "another team" in done.text

    async def test_moving_a_user_is_checked_too(self, api: Api) -> None:
        await api.apply(*whole_team("a"))
        moved = {"metadata": {"team": "b"}}
        assert (await api.call("PATCH", "/proxies/a-proxy", json=moved)).status_code == 422
        all_moved = [r | {"metadata": r["metadata"] | {"team": "b"}} for r in whole_team("a")]
        assert (await api.apply(*all_moved)).status_code == 200

    async def test_everybody(self, api: Api) -> None:
        await api.apply(*whole_team("b", sharedWith=["*"]))
        guest = document("Proxy", "guest", {"upstreams": [{"name": "b-upstream"}]}, team="z")
        assert (await api.put(guest)).status_code == 201
        viewer = await holder(api, "viewer", teams=["z"])
        assert (await viewer.call("GET", "/templates/b-template")).status_code == 200

    async def test_what_says_nothing_is_as_before(self, api: Api) -> None:
        done = await api.put(upstream())
        assert "sharedWith" not in done.json()["metadata"]

    @pytest.mark.parametrize("value", ["*", "a", ["A"], ["a b"], [7], {}])
    async def test_what_cannot_be_meant(self, api: Api, value: Any) -> None:
        assert (await api.put(upstream(sharedWith=value))).status_code == 422


class TestWhatIsTold:
    """Nodes' words and differences, to a developer of `a`, beside resources of `b`."""

    @pytest.fixture
    async def dev(self, api: Api) -> As:
        await api.apply(*whole_team("a"), *whole_team("b"))
        return await holder(api, "developer")

    @pytest.mark.parametrize(("words", "shown"), [
        ("a-upstream#12ab: bad", True),
        ("b-upstream#12ab: bad", False),
        ("a-upstream#12ab: bad, b-upstream#34cd: bad", False),
        ("gone-upstream#12ab: bad", False),
        ("out of memory", True),
    ])  # fmt: skip
    async def test_a_nodes_words(self, api: Api, dev: As, words: str, shown: bool) -> None:
        api.nodes.answer = Nodes.rejecting(words)
        types = {"type.googleapis.com/x.Cluster": TypeStatus("v", True, words)}
        api.nodes.known = (NodeStatus("gateway-1", "naru", "envoy", True, 1, types),)
        answers = [
            await dev.put(of_team("Template", "a", "new"), "?wait=1s"),
            await dev.call("GET", "/revisions/1"),
            await dev.call("GET", "/status"),
        ]
        assert [answer.status_code for answer in answers] == [422, 200, 200]
        for answer in answers:
            assert (words in answer.text) is shown
            assert "gateway-1" in answer.text
            assert "rejected" in answer.text
        assert words in (await api.call("GET", "/status")).text

    async def test_a_difference(self, api: Api, dev: As) -> None:
        await dev.call("PATCH", "/upstreams/a-upstream", json={"metadata": {"sharedWith": ["b"]}})
        spec = {"upstreams": [{"name": "a-upstream", "model": "m"}]}
        await api.put(document("Proxy", "guest", spec, team="b"))
        patch = {"spec": {"timeouts": {"request": "9s"}}}
        path = "/upstreams/a-upstream?dry_run=true"
        told = await dev.call("PATCH", path, json=patch)
        everything = await api.call("PATCH", path, json=patch)
        assert "a-proxy" in told.text
        assert "guest" not in told.text
        assert "guest" in everything.text

    async def test_counts(self, api: Api, dev: As) -> None:
        counts = {"credentials": 1, "proxies": 1, "templates": 2, "upstreams": 1}
        assert (await dev.call("GET", "/status")).json()["resources"] == counts

    async def test_what_cannot_be_read(self, api: Api, dev: As) -> None:
        api.store.problems = {"x": StoredProblem("credentials/lost", 3, "wrong_kek", "another")}
        assert "lost" not in (await dev.call("GET", "/status")).text
        assert "lost" in (await api.call("GET", "/status")).text


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_the_body_of_who_may_not_write_is_not_parsed(
    world: tuple[Api, dict[str, As]], method: str
) -> None:
    _, holders = world
    headers = {"content-type": "application/json"}
    answer = await holders["viewer"].call(
        method, "/templates/t", content=b"{not json", headers=headers
    )
    assert answer.status_code == 403, answer.text
