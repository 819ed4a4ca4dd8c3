"""The audit trail over HTTP: one entry for each write, in order, whole, and only to be read."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.api import _changes
from control_plane.resources import parse
from control_plane.store import AuditEntry, Changes, KeysInUse, StoredRecord, StoreUnavailable
from tests.support.access import holder
from tests.support.api import Api, credential, running_api, template, upstream

pytestmark = pytest.mark.anyio


async def entries(api: Api, query: str = "") -> list[dict[str, Any]]:
    found = await api.call("GET", f"/audit{query}")
    assert found.status_code == 200, found.text
    items: list[dict[str, Any]] = found.json()["items"]
    return items


async def test_an_entry(api: Api) -> None:
    headers = {"x-request-id": "req-7", "x-naru-message": "새 메뉴".encode()}
    await api.put(upstream(), headers=headers)
    [entry] = await entries(api)
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "number": 1,
        "previous": "0" * 64,
        "actor": {"id": "admin-token", "name": "admin-token"},
        "action": "PUT /api/v1/upstreams/openai",
        "request_id": "req-7",
        "client": "127.0.0.1",
        "message": "새 메뉴",
        "resources": [{"kind": "Upstream", "name": "openai", "change": "created"}],
        "revision": 1,
    }


async def test_every_write_and_nothing_else(api: Api) -> None:
    dev = await holder(api, "developer", teams=["default"])
    await dev.apply(upstream(), template(), query="?message=first")
    await dev.apply(upstream(), template())  # changes nothing
    await dev.put(template(content="new"), "?dry_run=true")
    await dev.put(template(content="new"))
    await dev.put(template() | {"metadata": {"name": "menu", "team": "b"}})  # refused
    await dev.call("PATCH", "/upstreams/openai", json={"metadata": {"labels": {"a": "b"}}})
    await dev.call("DELETE", "/templates/menu")
    await api.call("DELETE", f"/tokens/{dev.id}")
    found = await entries(api)
    assert [
        [f"{r['kind']} {r['change']}" for r in entry["resources"]] for entry in found
    ] == [
        ["Token created"],
        ["Template created", "Upstream created"],
        ["Template updated"],
        ["Upstream updated"],
        ["Template deleted"],
        ["Token deleted"],
    ]  # fmt: skip
    assert [entry["actor"]["id"] for entry in found] == [
        "admin-token",
        *[dev.id] * 4,
        "admin-token",
    ]
    assert [entry["message"] for entry in found] == [None, "first", None, None, None, None]
    assert [entry["revision"] for entry in found] == [1, 2, 3, 4, 5, 6]


async def test_one_entry_when_others_were_first(api: Api) -> None:
    rivals = [lambda s, i=i: _changes.put(s, parse(upstream(f"rival{i}"))) for i in range(3)]
    api.store.rivals = [*rivals]
    await api.put(upstream())
    [entry] = await entries(api)
    assert (entry["number"], entry["revision"]) == (1, 4)


async def test_contents_are_not_in_it(api: Api) -> None:
    await api.put(credential(secret="sk-canary-123456"))
    await api.put(template(content="a secret recipe"))
    text = "".join(entry.value.decode() for entry in api.store.trail)
    assert "canary" not in text
    assert "recipe" not in text


@pytest.mark.parametrize("message", ["", "x" * 501, "a%0ab", "%00"])
async def test_messages_that_cannot_be_kept(api: Api, message: str) -> None:
    assert (await api.put(upstream(), f"?message={message}")).status_code == 400
    assert not api.store.snapshot.stored


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/audit", "/audit/verification", "/audit/1"])
async def test_nothing_changes_it(api: Api, method: str, path: str) -> None:
    await api.put(upstream())
    before = list(api.store.trail)
    assert (await api.call(method, path, json={})).status_code in (404, 405)
    assert api.store.trail == before


class TestPages:
    @pytest.fixture
    async def written(self, api: Api) -> Api:
        for i in range(7):
            await api.put(upstream(f"u{i % 3}", labels={"i": str(i)}))
        return api

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
    @pytest.mark.parametrize(("query", "numbers"), [
        ("", [1, 2, 3, 4, 5, 6, 7]),
        ("&resource=upstreams/u1", [2, 5]),
        ("&resource=templates/u1", []),
        ("&actor=admin-token", [1, 2, 3, 4, 5, 6, 7]),
        ("&actor=nobody", []),
        ("&since=2999-01-01T00:00:00Z", []),
        ("&until=2001-01-01T00:00:00%2B09:00", []),
        ("&since=2001-01-01T00:00:00Z&until=2999-01-01T00:00:00Z", [1, 2, 3, 4, 5, 6, 7]),
    ])  # fmt: skip
    async def test_all_pages_together(
        self, written: Api, limit: int, query: str, numbers: list[int]
    ) -> None:
        found, more = [], ""
        while True:
            page = (await written.call("GET", f"/audit?limit={limit}{query}{more}")).json()
            found += [entry["number"] for entry in page["items"]]
            if page["continue"] is None:
                break
            more = f"&continue={page['continue']}"
        assert found == numbers

    @pytest.mark.parametrize("query", [
        "since=yesterday", "since=2024-01-01T00:00:00", "resource=x", "resource=kinds/x",
        "limit=0", "continue=x", "other=1",
    ])  # fmt: skip
    async def test_what_cannot_be_read(self, written: Api, query: str) -> None:
        assert (await written.call("GET", f"/audit?{query}")).status_code == 400

    async def test_etcd_away(self, written: Api) -> None:
        written.store.error = StoreUnavailable("away")
        assert (await written.call("GET", "/audit")).status_code == 503


class TestVerification:
    @pytest.fixture
    async def written(self, api: Api) -> Api:
        for i in range(5):
            await api.put(upstream(f"u{i}"))
        return api

    async def verify(self, api: Api) -> dict[str, Any]:
        found: dict[str, Any] = (await api.call("GET", "/audit/verification")).json()
        return found

    async def test_whole(self, written: Api) -> None:
        found = await self.verify(written)
        assert (found["whole"], found["entries"], found["first"]) == (True, 5, 1)
        assert found["head"]["number"] == 5

    async def test_of_nothing(self, api: Api) -> None:
        found = await self.verify(api)
        assert (found["whole"], found["entries"]) == (True, 0)

    @pytest.mark.parametrize("i", range(5))
    async def test_one_altered(self, written: Api, i: int) -> None:
        old = written.store.trail[i]
        changed = old.value.replace(b"admin-token", b"somebody-xx")
        written.store.trail[i] = AuditEntry(old.name, changed, old.revision)
        assert not (await self.verify(written))["whole"]

    @pytest.mark.parametrize("i", range(1, 5))
    async def test_one_taken_out(self, written: Api, i: int) -> None:
        del written.store.trail[i]
        found = await self.verify(written)
        assert not found["whole"]
        assert f"{i + 1} are missing" in found["problems"][0]

    async def test_the_oldest_dropped(self, written: Api) -> None:
        del written.store.trail[:2]
        found = await self.verify(written)
        assert (found["whole"], found["first"], found["entries"]) == (True, 3, 3)

    async def test_one_added(self, written: Api) -> None:
        last = written.store.trail[-1]
        written.store.trail.append(AuditEntry(last.name + "0", last.value, last.revision))
        assert not (await self.verify(written))["whole"]

    @pytest.mark.parametrize("value", [None, b"{}", b"x", b"[]"])
    async def test_the_head_lost(self, written: Api, value: bytes | None) -> None:
        snapshot = written.store.snapshot
        record = None if value is None else StoredRecord(value, snapshot.revision)
        written.store.snapshot = snapshot.with_changes(
            snapshot.revision, records={"audit/head": record}
        )
        assert not (await self.verify(written))["whole"]

    async def test_clocks_apart(self, written: Api) -> None:
        """Entries lie by their writers' clocks; the chain goes by their numbers."""
        written.store.trail.reverse()
        assert (await self.verify(written))["whole"]


async def test_of_a_token_it_says_what_it_may(api: Api) -> None:
    dev = await holder(api, "developer", "viewer", teams=["a", "b"])
    await api.call("DELETE", f"/tokens/{dev.id}")
    can = {"kind": "Token", "name": dev.id, "roles": ["developer", "viewer"], "teams": ["a", "b"]}
    assert [entry["resources"] for entry in await entries(api)] == [
        [can | {"change": "created"}],
        [can | {"change": "deleted"}],
    ]
    assert "hash" not in "".join(str(entry["resources"]) for entry in await entries(api))


class Turning:
    """Drops two keys, or refuses to, as `Rotation` would."""

    refusal: Exception | None = None

    sealing = None

    async def prune(self) -> tuple[str, ...]:
        if self.refusal is not None:
            raise self.refusal
        return ("0123456789abcdef", "fedcba9876543210")


async def test_dropped_keys() -> None:
    turning = Turning()
    async with running_api(keys=turning) as api:
        await api.call("POST", "/keys/prune?message=as+every+year")
        turning.refusal = KeysInUse("no key can be dropped")
        assert (await api.call("POST", "/keys/prune")).status_code == 409
        [entry] = await entries(api)
        assert (entry["message"], entry["action"]) == ("as every year", "POST /api/v1/keys/prune")
        assert entry["resources"] == [
            {"kind": "Key", "name": name, "change": "deleted"}
            for name in ("0123456789abcdef", "fedcba9876543210")
        ]
        assert await entries(api, "?resource=keys/0123456789abcdef") == [entry]
        assert await entries(api, "?resource=keys/primary") == []


async def test_dropped_keys_of_a_token_that_is_revoked_meanwhile() -> None:
    turning = Turning()
    async with running_api(keys=turning) as api:
        admin = await holder(api, "admin", teams=["*"])

        async def revoked() -> tuple[str, ...]:
            await api.call("DELETE", f"/tokens/{admin.id}")
            return ("0123456789abcdef",)

        turning.prune = revoked  # type: ignore[method-assign]
        await admin.call("POST", "/keys/prune")
        [entry] = await entries(api, "?resource=keys/0123456789abcdef")
        assert entry["actor"]["id"] == admin.id


async def test_writes_that_are_no_requests_leave_no_entry(api: Api) -> None:
    api.store._write(lambda s: Changes(records={"parked/x": b"{}"}))
    assert await entries(api) == []
