"""The real system for the supervisor: which parts, when they are live, what is told about them."""

from __future__ import annotations

import httpx

from naru.up import demo, files, parts, probes
from naru.up.console import Console
from naru.up.endpoints import endpoints
from naru.up.layout import Layout
from naru.up.live import not_live
from naru.up.settings import UpSettings
from naru.up.supervisor import System


def build_system(
    settings: UpSettings, layout: Layout, console: Console, http: httpx.AsyncClient
) -> System:
    """Everything that `naru up` runs.

    Raises:
        MissingPart: a program is not installed.
    """
    gateway = layout.at["gateway"].local
    listens = probes.tcp_accepts(gateway.host, gateway.port)
    expected = {settings.node_id, *layout.worker_ids}
    api = layout.at["api"].url

    was_live = False

    async def obstacles() -> list[str]:
        nonlocal was_live
        status = await probes.get_status(http, api, layout.admin_token)
        # Later on requests do not need the control plane: the workers have snapshots.
        reasons = not_live(status, expected) if status or not was_live else []
        if not reasons and not await listens():
            reasons = [f"Envoy does not listen on {gateway}"]
        was_live = was_live or not reasons
        return reasons

    async def prepare() -> None:
        if settings.demo:
            await demo.apply(console, layout)

    async def on_ready() -> None:
        _announce(console, layout)
        if settings.demo:
            await demo.show(console, layout)
        console.say("ready; Ctrl-C stops everything")

    return System(
        early=demo.models(layout, http) if settings.demo else (),
        stages=(
            [parts.etcd(layout, http)],
            [parts.control_plane(layout, settings, http)],
            [
                parts.failover(layout),
                *(parts.ext_proc(layout, settings, index) for index in range(len(layout.sockets))),
            ],
            [parts.envoy(layout, settings, http)],
        ),
        obstacles=obstacles,
        publish=lambda children, live: files.write_endpoints(
            layout.data_dir, endpoints(layout, children, live=live)
        ),
        prepare=prepare,
        on_ready=on_ready,
    )


def _announce(console: Console, layout: Layout) -> None:
    at = layout.at
    console.say(f"gateway {at['gateway'].url}")
    console.say(f"API     {at['api'].url}, admin token in {layout.admin_token_file}")
