"""`/api/v1/tokens`, `/api/v1/whoami`: made, used, expired, revoked; nowhere in the clear."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.access import As, holder
from tests.support.api import TOKEN, Api, template

pytestmark = pytest.mark.anyio
ASKED: dict[str, Any] = {"name": "ci", "roles": ["developer"], "teams": ["menu"]}


async def test_it_is_shown_once(api: Api) -> None:
    made = await api.call("POST", "/tokens", json=ASKED)
    assert made.status_code == 201
    shown = made.json()
    token = shown.pop("token")
    assert token.startswith(f"nt_{shown['id']}_")
    assert len(token) - len(f"nt_{shown['id']}_") == 43  # 256 bits in base64
    listed = (await api.call("GET", "/tokens")).json()["items"]
    assert listed == [shown]
    assert shown["createdBy"] == "admin-token"
    assert (shown["roles"], shown["teams"], shown["expiresAt"]) == (["developer"], ["menu"], None)


async def test_whoami(api: Api) -> None:
    dev = await holder(api, "developer", "viewer", teams=["a", "b"])
    assert (await dev.call("GET", "/whoami")).json() == {
        "id": dev.id, "name": "developer-viewer", "roles": ["developer", "viewer"],
        "teams": ["a", "b"], "expiresAt": None,
    }  # fmt: skip
    assert (await api.call("GET", "/whoami")).json()["id"] == "admin-token"


async def test_it_lies_nowhere_in_the_clear(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    made = (await api.call("POST", "/tokens", json=ASKED)).json()
    who, secret = As(api, made["token"]), made["token"].split("_", 2)[2]
    api.seen.clear()
    await who.put(template())
    await who.call("GET", "/nothing")
    for path in ("/tokens", "/status", "/audit"):
        await api.call("GET", path)
    metrics = (await api.http.get("/metrics")).text
    kept = [r.value.decode() for r in api.store.snapshot.records.values()]
    kept += [entry.value.decode() for entry in api.store.trail]
    known = [*kept, *api.seen, metrics, caplog.text, repr(api.store.snapshot), repr(api.state)]
    assert not [text for text in known if secret in text or TOKEN in text]
    assert made["id"] in caplog.text


async def test_it_is_revoked(api: Api) -> None:
    dev = await holder(api, "developer")
    assert (await dev.call("GET", "/whoami")).status_code == 200
    assert (await api.call("DELETE", f"/tokens/{dev.id}")).status_code == 200
    assert (await dev.call("GET", "/whoami")).status_code == 401
    assert (await api.call("DELETE", f"/tokens/{dev.id}")).status_code == 404


@pytest.mark.parametrize("token_id", ["x", "0123456789ab", "..%2fhead", "0123456789AB", "%00"])
async def test_what_is_no_token_is_not_revoked(api: Api, token_id: str) -> None:
    await api.put(template())
    before = api.store.snapshot
    assert (await api.call("DELETE", f"/tokens/{token_id}")).status_code == 404
    assert api.store.snapshot is before


@pytest.mark.parametrize("wrong", [
    {"roles": []}, {"roles": ["root"]}, {"teams": []}, {"teams": ["A b"]}, {"teams": ["*", "a"]},
    {"name": "a/b"}, {"name": ""}, {"expiresAt": "2001-01-01T00:00:00Z"}, {"more": 1},
    {"expiresAt": "2999-01-01T00:00:00"}, {"expiresAt": "soon"}, {"roles": ["admin"]},
    {"roles": ["developer", "operator"]},
])  # fmt: skip
async def test_what_cannot_be_asked(api: Api, wrong: dict[str, Any]) -> None:
    refused = await api.call("POST", "/tokens", json=ASKED | wrong)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_resource")
    assert refused.json()["error"]["problems"][0]["mend"]
    assert not api.store.snapshot.records


async def test_before_etcd_is_read_only_the_admin_token_is_known(api: Api) -> None:
    dev = await holder(api, "developer")
    known, api.store.snapshot = api.store.snapshot, type(api.store.snapshot)()
    api.store.synced = False
    assert (await dev.call("GET", "/whoami")).status_code == 503
    assert (await api.call("GET", "/whoami")).status_code == 200
    api.store.synced, api.store.trouble = True, "etcd is away"
    api.store.snapshot = known
    assert (await dev.call("GET", "/whoami")).status_code == 200
