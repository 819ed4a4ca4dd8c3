"""Whatever a team's tokens do, another team's resources neither change nor show."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.resources import Key
from tests.support.access import As, holder
from tests.support.api import Api, Nodes, document, running_api

CANARIES = ("canary", "hidden-7f3a")
"""In every content of team `b`, and in a name of its that no request says."""

_NAMES = st.sampled_from(["a-one", "a-two", "b-one", "c-one", "c-two"])
_TEAMS = st.sampled_from(["a", "a", "a", "b", "default"])
_SHARING = st.sampled_from([None, ["b"], ["*"], []])
_HOSTS = st.sampled_from(["http://127.0.0.1:9000/v1", "https://evil.example/v1"])


def _others() -> list[dict[str, Any]]:
    """Team `b`'s, none of it shared, and `c`'s, all of it shared; `b` uses an upstream of `a`."""
    found = []
    for team, name, word in (("b", "b-one", "canary"), ("b", "hidden-7f3a", "canary"), ("c", "c-one", "open")):  # fmt: skip
        shared = {"sharedWith": ["a"]} if team == "c" else {}
        about = {"team": team, "annotations": {"note": word}, **shared}
        url = f"https://{word}.example/v1"
        found += [
            document(
                "Credential",
                name,
                {"type": "bearer", "secret": f"sk-{word}", "allowedHosts": [f"{word}.example"]},
                **about,
            ),
            document(
                "Upstream", name, {"dialect": "openai", "url": url, "credential": name}, **about
            ),
            document("Template", name, {"messages": [{"role": "user", "content": word}]}, **about),
            document("Proxy", name, {"upstreams": [{"name": name}], "template": name}, **about),
        ]
    found += [
        document(
            "Upstream",
            "a-one",
            {"dialect": "openai", "url": "http://127.0.0.1:9000/v1"},
            team="a",
            sharedWith=["b"],
        ),
        document("Proxy", "hidden-7f3a-guest", {"upstreams": [{"name": "a-one"}]}, team="b"),
    ]
    return found


@st.composite
def _documents(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["Credential", "Upstream", "Template", "Proxy"]))
    about: dict[str, Any] = {"team": draw(_TEAMS)}
    if (sharing := draw(_SHARING)) is not None:
        about["sharedWith"] = sharing
    spec: dict[str, Any] = {
        "Credential": lambda: {"type": "bearer", "secret": "sk-a"},
        "Upstream": lambda: {"dialect": "openai", "url": draw(_HOSTS), "credential": draw(_NAMES)},
        "Template": lambda: {"messages": [{"role": "user", "content": "x"}]},
        "Proxy": lambda: {
            "upstreams": [{"name": draw(_NAMES), "credential": draw(_NAMES)}],
            "template": draw(_NAMES),
        },
    }[kind]()
    if draw(st.booleans()):
        spec.pop("credential", None)
        spec.pop("secret", None)
    return document(kind, draw(_NAMES), spec, **about)


_PATCHES = st.sampled_from([
    {"metadata": {"team": "a"}},
    {"metadata": {"team": "b"}},
    {"metadata": {"sharedWith": ["a", "b"]}},
    {"metadata": {"sharedWith": None}},
    {"spec": {"allowedHosts": ["evil.example"]}},
    {"spec": {"url": "https://evil.example/v1"}},
    {"spec": {"credential": "b-one"}},
    {},
])  # fmt: skip
_PLURALS = st.sampled_from(["credentials", "upstreams", "templates", "proxies"])
_QUERIES = st.sampled_from(["", "", "?dry_run=true", "?wait=10ms"])
_STEPS = st.one_of(
    st.tuples(st.just("apply"), st.lists(_documents(), min_size=1, max_size=4), _QUERIES),
    st.tuples(st.just("put"), _documents(), _QUERIES),
    st.tuples(st.just("patch"), st.tuples(_PLURALS, _NAMES), _PATCHES, _QUERIES),
    st.tuples(st.just("delete"), st.tuples(_PLURALS, _NAMES), _QUERIES),
    st.tuples(st.just("get"), st.tuples(_PLURALS, _NAMES)),
    st.tuples(st.just("list"), _PLURALS),
    st.tuples(st.just("system"), st.sampled_from(["/status", "/revisions/1", "/whoami", "/audit", "/tokens"])),
)  # fmt: skip


async def _do(who: As, step: tuple[Any, ...]) -> httpx.Response:
    match step:
        case ("apply", documents, query):
            return await who.apply(*documents, query=query)
        case ("put", resource, query):
            return await who.put(resource, query)
        case ("patch", (plural, name), patch, query):
            return await who.call("PATCH", f"/{plural}/{name}{query}", json=patch)
        case ("delete", (plural, name), query):
            return await who.call("DELETE", f"/{plural}/{name}{query}")
        case ("get", (plural, name)):
            return await who.call("GET", f"/{plural}/{name}")
        case ("list", plural):
            return await who.call("GET", f"/{plural}?limit=2")
        case (_, path):
            return await who.call("GET", path)
    raise AssertionError(step)


def _of_others(api: Api) -> dict[Any, Any]:
    stored = api.store.snapshot.stored
    return {k: s for k, s in stored.items() if s.resource.metadata.team in ("b", "c")}


def _named_by_a(api: Api) -> set[Key]:
    resources = api.store.snapshot.resources.values()
    return {key for r in resources if r.metadata.team == "a" for key in r.references()}


async def _hold_apart(role: str, steps: list[tuple[Any, ...]]) -> list[int]:
    async with running_api() as api:
        assert (await api.apply(*_others())).status_code == 200
        who = await holder(api, role)
        api.nodes.answer = Nodes.rejecting("hidden-7f3a#12ab: canary")
        before, statuses = _of_others(api), []
        secret = {key for key, s in before.items() if s.resource.metadata.team == "b"}
        for step in steps:
            answer = await _do(who, step)
            statuses.append(answer.status_code)
            said = f"{answer.headers}{answer.text}"
            assert answer.status_code != 500, said
            assert not [word for word in CANARIES if word in said], (step, said)
            after = _of_others(api)
            assert after.keys() == before.keys(), step
            assert all(after[key] is before[key] for key in before), step
            assert not _named_by_a(api) & secret, step
        return statuses


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    role=st.sampled_from(["developer", "developer", "prompt-editor", "viewer"]),
    steps=st.lists(_STEPS, min_size=4, max_size=14),
)
def test_no_sequence_of_calls_crosses_teams(role: str, steps: list[tuple[Any, ...]]) -> None:
    asyncio.run(_hold_apart(role, steps))


def test_the_calls_do_write() -> None:
    """The property is not held by refusing everything."""
    own = document("Template", "a-one", {"messages": [{"role": "user", "content": "x"}]}, team="a")
    using = document("Proxy", "a-two", {"upstreams": [{"name": "c-one"}]}, team="a")
    steps: list[tuple[Any, ...]] = [
        ("put", own, ""), ("put", using, ""), ("get", ("proxies", "c-one")),
        ("delete", ("templates", "a-one"), ""),
    ]  # fmt: skip
    assert asyncio.run(_hold_apart("developer", steps)) == [201, 201, 200, 200]
