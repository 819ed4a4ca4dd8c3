"""Where upstreams may point and secrets may go, at every way to write."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.resources import Key, parse
from tests.support.api import Api, credential, proxy, running_api, upstream

pytestmark = pytest.mark.anyio

METADATA = "http://169.254.169.254/latest"


def moved(url: str = METADATA, **kwargs: Any) -> dict[str, Any]:
    made = upstream(**kwargs)
    made["spec"]["url"] = url
    return made


def problems(answer: Any) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    found = answer.json()["error"]["problems"]
    return {problem["field"]: f"{problem['message']}: {problem['mend']}" for problem in found}


@pytest.mark.parametrize("query", ["", "?dry_run=true", "?wait=1s"])
async def test_put(query: str) -> None:
    async with running_api() as api:
        found = problems(await api.put(moved(), query))
        assert "NARU_UPSTREAM_ALLOW" in found["spec.url"]
        assert not api.store.snapshot.stored


async def test_patch() -> None:
    async with running_api() as api:
        await api.put(upstream())
        patched = await api.call("PATCH", "/upstreams/openai", json={"spec": {"url": METADATA}})
        assert "spec.url" in problems(patched)
        assert api.store.snapshot.resources == {Key("upstreams", "openai"): parse(upstream())}


async def test_apply_writes_all_or_nothing() -> None:
    async with running_api() as api:
        documents = (credential(), moved(name="imds"), proxy(to="imds"), {"kind": "x"})
        found = problems(await api.apply(*documents))
        assert {"documents[1].spec.url", "documents[3].kind"} <= found.keys()
        assert not any("proxies/menu-copy" in text for text in found.values())
        assert not api.store.snapshot.stored


class TestKeptSecrets:
    """Who does not know a secret cannot send it to a place of their own choice."""

    FURTHER: tuple[dict[str, Any], ...] = (
        {"allowedHosts": ["127.0.0.1", "api.openai.com", "evil.example"]},
        {"allowedHosts": ["evil.example"]},
        {"allowedHosts": ["127.0.0.1", "api.openai.com", "api.openai.com:80"]},  # over http, too
        {"type": "header", "header": "x-leak"},
    )

    @pytest.mark.parametrize("spec", FURTHER)
    async def test_go_nowhere_new(self, spec: dict[str, Any]) -> None:
        async with running_api() as api:
            await api.put(credential())
            before = api.store.snapshot
            patched = await api.call("PATCH", "/credentials/key", json={"spec": spec})
            put = await api.put(credential(secret=None, **spec))
            applied = await api.apply(credential(secret=None, **spec))
            assert "spec.secret" in problems(patched)
            assert "spec.secret" in problems(put)
            assert "documents[0].spec.secret" in problems(applied)
            assert api.store.snapshot is before

    @pytest.mark.parametrize("spec", FURTHER)
    async def test_who_gives_the_secret_again_may(self, spec: dict[str, Any]) -> None:
        async with running_api() as api:
            await api.put(credential())
            assert (await api.put(credential(secret="sk-2", **spec))).status_code == 200

    async def test_may_go_to_fewer_hosts(self) -> None:
        async with running_api() as api:
            await api.put(credential())
            spec = {"allowedHosts": ["127.0.0.1:9000"]}
            done = await api.call("PATCH", "/credentials/key", json={"spec": spec})
            assert done.status_code == 200
            wider = await api.put(credential(secret=None))
            assert "spec.secret" in problems(wider)

    async def test_a_credential_made_anew_has_no_secret_to_keep(self, api: Api) -> None:
        await api.put(credential())
        await api.call("DELETE", "/credentials/key")
        assert "spec.secret" in problems(await api.put(credential(secret=None)))


async def test_no_order_of_writes_gets_a_secret_to_another_host(api: Api) -> None:
    """Upstream, credential and proxy, each moved in turn, and all at once."""
    theirs = proxy(upstreams=[{"name": "openai", "credential": "key"}])
    await api.apply(credential(), upstream(), theirs)
    evil = moved("https://evil.example/v1")
    evil_proxy = proxy(name="thief", upstreams=[{"name": "evil", "credential": "key"}])
    assert "proxies/menu-copy" in problems(await api.put(evil))
    patch = {"spec": {"url": "https://evil.example/v1"}}
    assert "proxies/menu-copy" in problems(await api.call("PATCH", "/upstreams/openai", json=patch))
    both = await api.apply(moved("https://evil.example", name="evil"), evil_proxy)
    assert "documents[1]" in problems(both)
    own = moved("https://evil.example", name="evil", credential="key")
    assert "upstreams/evil" in problems(await api.put(own))
    narrowed = credential(secret=None, allowedHosts=[])
    assert "proxies/menu-copy" in problems(await api.put(narrowed))
    assert len(api.store.snapshot.stored) == 3
