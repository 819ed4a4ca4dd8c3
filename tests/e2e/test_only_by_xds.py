"""An edit reaches a worker by xDS and by nothing else; each role runs by its own command."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import tour
from tests.support.etcd import EtcdProcess
from tests.support.gateway import Gateway, document, wait_for
from tests.support.provider import Provider
from tests.support.roles import Places, assembled, connected, joined_envoy
from tests.support.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]
GOOD = {"dish": "bibimbap", "mood": "warm"}


def edit(text: str) -> dict[str, object]:
    messages = [{"role": "user", "content": text + " {{ dish }} {{ mood }}"}]
    return document("Template", "menu-copy", {"messages": messages})


def prompt(gateway: Gateway) -> str:
    response = gateway.run("menu-copy", GOOD)
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


async def test_no_stream_no_edit(tmp_path: Path, provider: Provider) -> None:
    loop = asyncio.get_running_loop()
    with EtcdProcess(tmp_path / "etcd") as etcd:
        places = Places.pick(tmp_path, etcd.endpoint)
        async with TcpProxy(places.xds) as wire:
            await asyncio.to_thread(_check, places, wire, loop, provider)


def _check(
    places: Places, wire: TcpProxy, loop: asyncio.AbstractEventLoop, provider: Provider
) -> None:
    with assembled(places, workers_xds=wire.endpoint) as gateway:
        gateway.apply(*tour(provider))
        gateway.apply(edit("before"))
        assert prompt(gateway) == "before bibimbap warm"

        loop.call_soon_threadsafe(wire.isolate)
        wait_for(lambda: _disconnected(gateway, "worker"), 30, "the worker's stream to be cut")
        response = gateway.api.put(
            "/api/v1/templates/menu-copy", params={"wait": "1s"}, json=edit("after")
        )
        # No acknowledgement can have come from the worker, but Envoy had nothing to acknowledge.
        assert response.status_code in (200, 202), response.text
        until = time.monotonic() + 2
        while time.monotonic() < until:
            assert prompt(gateway) == "before bibimbap warm"

        loop.call_soon_threadsafe(wire.heal)
        wait_for(lambda: prompt(gateway) == "after bibimbap warm", 30, "the edit to arrive")


async def test_any_envoy_joins_by_the_bootstrap_that_is_printed(
    tmp_path: Path, provider: Provider
) -> None:
    with EtcdProcess(tmp_path / "etcd") as etcd:
        places = Places.pick(tmp_path, etcd.endpoint)
        with assembled(places) as gateway:
            gateway.apply(*tour(provider))
            with joined_envoy(places, "second") as log:
                wait_for(
                    lambda: "second" in connected(gateway.api), 20, f"joining ({log.read_text()})"
                )
                applied = gateway.apply(edit("for both")).json()
                assert applied["status"]["nodes"]["second"]["state"] == "applied"
                assert prompt(gateway) == "for both bibimbap warm"


def _disconnected(gateway: Gateway, node: str) -> bool:
    nodes = gateway.api.get("/api/v1/status").json()["nodes"]
    return not any(each["id"] == node and each["connected"] for each in nodes)
