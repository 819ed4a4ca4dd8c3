"""What an API answers of resources that are set aside, or under suspicion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import httpx
import pytest

from control_plane.compile import Aside, Compiled, Compiler, GatewaySettings, Hold
from control_plane.resources import Key, Resource
from tests.support.access import holder
from tests.support.api import Api, Nodes, credential, proxy, running_api, upstream

pytestmark = pytest.mark.anyio
U, P = Key("upstreams", "openai"), Key("proxies", "menu-copy")
SUSPECT = Aside("gateway-1 refused it: no", True, "gateway-1", certain=False, since=1)
GUILTY = replace(SUSPECT, certain=True)


class Setting:
    """Compiles everything, and says of it what it is told to."""

    aside: Mapping[Key, Aside] = {}

    def compile(
        self, revision: int, resources: Mapping[Key, Resource], holds: Mapping[Key, Hold]
    ) -> Compiled:
        compiled = Compiler(GatewaySettings()).compile(revision, resources)
        return replace(compiled, aside={k: v for k, v in self.aside.items() if k in resources})


@pytest.fixture
def setting() -> Setting:
    return Setting()


@pytest.fixture
async def api(setting: Setting) -> AsyncIterator[Api]:
    async with running_api(compiler=lambda: setting) as running:
        running.nodes.answer = Nodes.applied
        yield running


async def say(api: Api, setting: Setting, **aside: Aside) -> None:
    """From now on this is aside."""
    setting.aside = {{"u": U, "p": P}[name]: why for name, why in aside.items()}
    await api.compilation.again()


def fields(response: httpx.Response) -> set[str]:
    return {problem["field"] for problem in response.json()["error"]["problems"]}


async def test_its_writer_hears_the_nodes_words_and_others_do_not(
    api: Api, setting: Setting
) -> None:
    setting.aside = {U: GUILTY}
    refused = await api.put(upstream(), "?wait=1s")
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "rejected_by_node")
    assert fields(refused) == {"upstreams/openai"}
    assert "last good version stays live" in refused.json()["error"]["problems"][0]["message"]
    assert (await api.put(credential(), "?wait=1s")).status_code == 201


async def test_written_once_more_as_it_is_it_is_refused_again(api: Api, setting: Setting) -> None:
    """Whatever else was written meanwhile, such as the record of what is aside."""
    setting.aside = {U: GUILTY}
    assert (await api.put(upstream(), "?wait=1s")).status_code == 422
    await api.put(credential())
    for again in (
        await api.put(upstream(), "?wait=1s"),
        await api.apply(upstream(), credential(), query="?wait=1s"),
        await api.call("PATCH", "/upstreams/openai?wait=1s", json={}),
    ):
        assert (again.status_code, fields(again)) == (422, {"upstreams/openai"})
    assert (await api.put(credential(), "?wait=1s")).status_code == 200


async def test_written_once_more_under_suspicion_it_is_pending(api: Api, setting: Setting) -> None:
    setting.aside = {U: SUSPECT}
    await api.put(upstream())
    await api.put(credential())
    await api.compilation.wait_for(2, 5)
    status = (await api.put(upstream(), "?wait=50ms")).json()["status"]
    assert (status["state"], len(status["set_aside"])) == ("pending", 1)


async def test_of_an_earlier_version_what_is_live_says_nothing(api: Api, setting: Setting) -> None:
    setting.aside = {U: GUILTY}
    await api.put(upstream())
    await api.compilation.wait_for(1, 5)
    api.compilation.again = asyncio.Event().wait  # type: ignore[method-assign, assignment]
    api.nodes.answer = Nodes.pending
    late = await api.put(upstream(labels={"mended": "perhaps"}), "?wait=20ms")
    assert (late.status_code, late.json()["status"]["set_aside"]) == (202, [])


async def test_who_uses_it_later_is_told(api: Api, setting: Setting) -> None:
    below = Aside("upstreams/openai, which it uses, is set aside", False, "gateway-1", below=U)
    setting.aside = {U: GUILTY, P: below}
    await api.put(upstream())
    late = await api.put(proxy(), "?wait=1s")
    assert late.status_code == 422
    assert fields(late) == {"proxies/menu-copy"}


async def test_under_suspicion_it_is_pending_until_that_is_over(api: Api, setting: Setting) -> None:
    setting.aside = {U: SUSPECT}
    pending = await api.put(upstream(), "?wait=50ms")
    assert (pending.status_code, pending.json()["status"]["state"]) == (202, "pending")
    shown = (await api.call("GET", "/revisions/1")).json()
    assert (shown["state"], shown["set_aside"][0]["certain"]) == ("pending", False)
    waiting = asyncio.create_task(api.apply(upstream(), query="?wait=10s"))
    await say(api, setting)
    assert (await waiting).status_code == 200


async def test_the_innocent_are_live_with_the_revision_that_brings_them(
    api: Api, setting: Setting
) -> None:
    """Not with the one that had them aside for the moment, which every node has long since."""
    asked: list[int] = []
    api.nodes.answer = lambda revision: asked.append(revision) or Nodes.applied(revision)  # type: ignore[func-returns-value]
    setting.aside = {U: SUSPECT}
    waiting = asyncio.create_task(api.put(upstream(), "?wait=10s"))
    await api.compilation.wait_for(1, 5)
    await api.put(credential())
    await api.compilation.wait_for(2, 5)
    await say(api, setting)
    assert (await waiting).status_code == 201
    assert asked[-1] == 2


async def test_found_guilty_its_writer_hears_it(api: Api, setting: Setting) -> None:
    setting.aside = {U: SUSPECT}
    waiting = asyncio.create_task(api.put(upstream(), "?wait=10s"))
    await api.compilation.wait_for(1, 5)
    await say(api, setting, u=GUILTY)
    assert (await waiting).status_code == 422


async def test_a_revision_stays_rejected_after_it_has_been_mended(
    api: Api, setting: Setting
) -> None:
    setting.aside = {U: GUILTY}
    await api.put(upstream())
    await api.compilation.wait_for(1, 5)
    setting.aside = {}
    mended = await api.put(upstream(credential=None, labels={"mended": "yes"}), "?wait=1s")
    assert mended.status_code == 200
    states = [(await api.call("GET", f"/revisions/{n}")).json()["state"] for n in (1, 2)]
    assert states == ["rejected", "applied"]
    shown = (await api.call("GET", "/revisions/1")).json()
    assert shown["set_aside"][0]["resource"] == "upstreams/openai"
    assert not (await api.call("GET", "/status")).json()["set_aside"]


async def test_a_trial_says_what_would_be_aside_and_not_what_is(api: Api, setting: Setting) -> None:
    setting.aside = {U: GUILTY}
    await api.put(upstream())
    await api.compilation.wait_for(1, 5)
    assert (await api.put(credential(), "?dry_run=true")).status_code == 200
    setting.aside = {U: GUILTY, P: replace(GUILTY, since=0, below=U)}
    tried = await api.put(proxy(), "?dry_run=true")
    assert tried.status_code == 422
    assert fields(tried) == {"proxies/menu-copy"}


async def test_a_trial_tells_a_caller_of_his_own_and_not_of_others(
    api: Api, setting: Setting
) -> None:
    """What he tries is not stored, so nothing but his request says that it is his."""
    await api.put(upstream("theirs", team="b"))
    dev = await holder(api, "developer")
    await api.compilation.wait_for(2, 5)  # with nothing aside, as it stays while nothing is written
    why = replace(GUILTY, reason="openai#12ab cannot be compiled", node="", since=0)
    hidden = replace(why, reason="theirs#12ab cannot be compiled")
    setting.aside = {U: why, Key("upstreams", "theirs"): hidden}
    mine = upstream(team="a")
    for tried in (
        await dev.put(mine, "?dry_run=true"),
        await dev.apply(mine, query="?dry_run=true"),
    ):
        told = {p["field"]: p["message"] for p in tried.json()["error"]["problems"]}
        assert tried.status_code == 422
        assert told == {
            "upstreams/openai": why.reason,
            "another team": "a resource of another team is in the way",
        }
