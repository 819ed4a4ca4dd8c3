"""Stopping Envoy without harm to requests under way: drain, then wait until none is left.

https://www.envoyproxy.io/docs/envoy/v1.40.0/operations/admin#post--drain_listeners
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import httpx

from naru.up.probes import active_requests

_POLL = 0.1


async def drain_envoy(http: httpx.AsyncClient, admin: str, limit: float) -> None:
    """Tell callers to go (`connection: close`), and wait up to `limit` seconds for their requests.

    An idle Envoy is drained at once. An Envoy that does not answer is taken for gone.
    """
    with contextlib.suppress(httpx.HTTPError):
        await http.post(f"{admin}/drain_listeners?graceful")
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if not await active_requests(http, admin):
            return
        await asyncio.sleep(_POLL)
