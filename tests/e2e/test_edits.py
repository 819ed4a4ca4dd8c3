"""Edits under load: nothing fails, nothing is mixed, no connection is closed, no route is sent."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.support.gateway import Gateway, document
from tests.support.provider import Provider, running_provider

EDITS = 200
MARK = re.compile(r"\[v(\d+)\]")


class Load:
    """Callers that never pause, and what they saw."""

    def __init__(self, gateway: Gateway, proxy: str, threads_each: int = 2) -> None:
        self.failures: list[str] = []
        self.mixed: list[str] = []
        self.seen: list[int] = []
        self._stop = threading.Event()
        simple = (f"/p/{proxy}", {"variables": {}})
        sdk = ("/v1/chat/completions", {"model": proxy, "messages": [], "variables": {}})
        self._threads = [
            threading.Thread(target=self._call, args=(gateway.endpoints["gateway"], *way))
            for way in (simple, sdk)
            for _ in range(threads_each)
        ]

    def _call(self, url: str, path: str, body: dict[str, Any]) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not self._stop.is_set():
                self._look_at(client.post(path, json=body))

    def _look_at(self, response: httpx.Response) -> None:
        if response.status_code != 200:
            self.failures.append(f"{response.status_code} {response.text}")
            return
        marks = {int(mark) for mark in MARK.findall(response.text)}
        if len(marks) != 1 or len(MARK.findall(response.text)) != 3:
            self.mixed.append(response.text)
        self.seen.append(max(marks, default=-1))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)


def marked(version: int) -> dict[str, Any]:
    """A template whose every part says which version it is."""
    roles = ("system", "user", "assistant")
    messages = [{"role": role, "content": f"{role} [v{version}]"} for role in roles]
    return document("Template", "edited", {"messages": messages})


@contextmanager
def edited_proxy(gateway: Gateway, provider: Provider) -> Iterator[None]:
    """The proxy `edited`, with version 0 of its template and an upstream of its own."""
    gateway.apply(marked(0), proxy("edited-0"), upstream("edited-0", provider, "10s"))
    provider.keep = False
    try:
        yield
    finally:
        provider.keep = True


def proxy(upstream_name: str) -> dict[str, Any]:
    choice = {"name": upstream_name, "model": "m"}
    return document("Proxy", "edited", {"upstreams": [choice], "template": "edited"})


def upstream(name: str, provider: Provider, timeout: str) -> dict[str, Any]:
    spec = {
        "dialect": "openai",
        "url": provider.url,
        "credential": "provider-key",
        "timeouts": {"request": timeout},
    }
    return document("Upstream", name, spec)


@pytest.mark.timeout(300)
def test_template_edits_under_load(gateway: Gateway, provider: Provider) -> None:
    with edited_proxy(gateway, provider):
        before = gateway.envoy_counters()
        with Load(gateway, "edited") as load:
            for version in range(1, EDITS + 1):
                response = gateway.api.put("/api/v1/templates/edited", json=marked(version))
                assert response.status_code == 200, response.text
            last = gateway.api.put(
                "/api/v1/templates/edited", params={"wait": "20s"}, json=marked(EDITS + 1)
            )
            assert last.status_code == 200, last.text
            live = gateway.run("edited", {})
        after = gateway.envoy_counters()
    assert load.failures == []
    assert load.mixed == []
    assert set(MARK.findall(live.text)) == {str(EDITS + 1)}
    assert len(set(load.seen)) > EDITS / 10, "the load saw too few versions to mean anything"
    for counter in (
        "http.gateway.rds.naru.config_reload",
        "cluster_manager.cluster_added",
        "listener_manager.listener_modified",
        "http.gateway.downstream_cx_drain_close",
    ):
        assert after[counter] == before[counter], counter


@pytest.mark.timeout(300)
def test_changes_of_wiring_under_load(gateway: Gateway, provider: Provider) -> None:
    """Each edit below moves the proxy to another cluster, route and plan, and often provider."""
    with running_provider() as other, edited_proxy(gateway, provider):
        other.keep = False
        before = gateway.envoy_counters()
        with Load(gateway, "edited") as load:
            for turn in range(1, 21):
                there = other if turn % 2 else provider
                changed = upstream(f"edited-{turn % 3}", there, f"{10 + turn}s")
                gateway.apply(changed, proxy(f"edited-{turn % 3}"), marked(turn))
            live = gateway.run("edited", {})
        after = gateway.envoy_counters()
    assert load.failures == []
    assert load.mixed == []
    assert set(MARK.findall(live.text)) == {"20"}
    assert (
        after["http.gateway.rds.naru.config_reload"] > before["http.gateway.rds.naru.config_reload"]
    )
    drained = "http.gateway.downstream_cx_drain_close"
    assert after[drained] == before[drained]


def test_a_rotated_secret_is_used_without_a_new_route(gateway: Gateway, provider: Provider) -> None:
    with running_provider(key="sk-second") as other:
        held = {"type": "bearer", "secret": "sk-first", "allowedHosts": ["127.0.0.1"]}
        key = document("Credential", "rotated", held)
        spec = {"dialect": "openai", "url": other.url, "credential": "rotated"}
        choice = {"name": "rotated", "model": "m"}
        gateway.apply(
            key,
            document("Upstream", "rotated", spec),
            document("Proxy", "rotated", {"upstreams": [choice], "template": "menu-copy"}),
        )
        good = {"dish": "x", "mood": "warm"}
        refused = gateway.run("rotated", good)
        assert refused.status_code == 401  # the provider's own answer
        key["spec"]["secret"] = "sk-second"
        gateway.apply(key)
        accepted = gateway.run("rotated", good)
        assert accepted.status_code == 200
        assert accepted.headers["x-naru-plan"] == refused.headers["x-naru-plan"]
