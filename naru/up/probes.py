"""Asking the parts whether they are ready. A part that is silent is not ready."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from naru.up.tls import TlsDir

Probe = Callable[[], Awaitable[bool]]
_PATIENCE = 2.0
_PING_PATIENCE = 1.5
_AGAIN = 0.5


def new_http(tls: TlsDir | None = None) -> httpx.AsyncClient:
    """A client for loopback only: proxies of the environment do not apply. To etcd it is the
    control plane."""
    if tls is None:
        return httpx.AsyncClient(trust_env=False, timeout=_PATIENCE)
    files = tls.of("control-plane")
    context = ssl.create_default_context(cafile=files.ca)
    context.load_cert_chain(files.cert, files.key)
    return httpx.AsyncClient(trust_env=False, timeout=_PATIENCE, verify=context)


def http_ok(http: httpx.AsyncClient, url: str) -> Probe:
    """True when `GET url` answers 200."""

    async def probe() -> bool:
        try:
            return (await http.get(url)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return probe


def http_answers(http: httpx.AsyncClient, url: str, patience: float) -> Probe:
    """True when whoever serves `url` says anything at all within `patience` seconds.

    Whoever refuses or hangs up is alive, too; who is not there yet may come in time.
    """

    async def probe() -> bool:
        try:
            async with asyncio.timeout(patience):
                while not await _says_anything(http, url, patience):
                    continue
        except TimeoutError:
            return False
        return True

    return probe


def etcd_healthy(http: httpx.AsyncClient, url: str) -> Probe:
    """True when etcd has a leader and takes writes (its `/health`)."""

    async def probe() -> bool:
        try:
            return bool((await http.get(f"{url}/health")).json().get("health") == "true")
        except (httpx.HTTPError, ValueError):
            return False

    return probe


def unix_accepts(path: Path) -> Probe:
    """True when something accepts connections on the socket."""

    async def probe() -> bool:
        return await _connects(asyncio.open_unix_connection(path))

    return probe


def http2_answers(path: Path) -> Probe:
    """True when whoever serves the socket answers an HTTP/2 PING (RFC 9113, section 6.7) in time.

    That the socket accepts says nothing: the kernel does so for a process that is stopped, too.
    """

    async def probe() -> bool:
        try:
            async with asyncio.timeout(_PING_PATIENCE):
                return await _ping(path)
        except (OSError, EOFError, TimeoutError):
            return False

    return probe


def tcp_accepts(host: str, port: int) -> Probe:
    async def probe() -> bool:
        return await _connects(asyncio.open_connection(host, port))

    return probe


async def get_status(http: httpx.AsyncClient, api: str, token: str) -> Mapping[str, Any] | None:
    """The control plane's `/api/v1/status`; none while it does not answer."""
    headers = {"authorization": f"Bearer {token}"}
    try:
        answer = await http.get(f"{api}/api/v1/status", headers=headers)
        found = answer.json() if answer.status_code == httpx.codes.OK else None
    except (httpx.HTTPError, ValueError):
        return None
    return found if isinstance(found, dict) else None


async def active_requests(http: httpx.AsyncClient, admin: str) -> int | None:
    """Requests that Envoy is serving now; none if its admin page does not answer."""
    try:
        answer = await http.get(f"{admin}/stats", params={"filter": "downstream_rq_active"})
    except httpx.HTTPError:
        return None
    return count_active(answer.text) if answer.status_code == httpx.codes.OK else None


def count_active(stats: str) -> int:
    """Sum of `http.<prefix>.downstream_rq_active` over all listeners but the admin page."""
    total = 0
    for line in stats.splitlines():
        name, _, value = line.partition(": ")
        mine = name.startswith("http.") and name.endswith(".downstream_rq_active")
        if mine and not name.startswith("http.admin."):
            total += int(value)
    return total


async def _says_anything(http: httpx.AsyncClient, url: str, patience: float) -> bool:
    try:
        await http.get(url, timeout=patience)
    except (httpx.TimeoutException, httpx.ConnectError):
        await asyncio.sleep(_AGAIN)
        return False
    except httpx.HTTPError:
        return True
    return True


async def _ping(path: Path) -> bool:
    # Not at the top: it brings protobuf along, which no other role of this process needs.
    from ext_proc.transport.h2 import frames

    reader, writer = await asyncio.open_unix_connection(path)
    try:
        data = os.urandom(8)
        writer.write(frames.PREFACE + frames.settings({}))
        writer.write(frames.frame(frames.PING, 0, 0, data))
        while True:
            high, low, kind, flags, _ = frames.unpack_head(
                await reader.readexactly(frames.HEADER_SIZE)
            )
            payload = await reader.readexactly(high << 8 | low)
            if kind == frames.PING and flags & frames.ACK:
                return payload == data
            if kind == frames.GOAWAY:
                return True
    finally:
        writer.close()


async def _connects(
    opening: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
) -> bool:
    try:
        _, writer = await asyncio.wait_for(opening, _PATIENCE)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
