"""What the sync and the async client share: timeouts, pooling, httpx's failures in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from naru.errors import CallTimeout, ConnectFailed, ConnectionLost, NaruError

CALL_TIMEOUT = 600.0
"""Seconds of silence after which a call is given up; a model may think for minutes."""

_CONNECT_TIMEOUT = 5.0
_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=60.0)
"""Idle connections are given up after 60 s, before the gateway does it (75 s or more)."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def client_options(url: str, timeout: float) -> dict[str, Any]:
    """The arguments of `httpx.Client` and `httpx.AsyncClient`."""
    return {
        "base_url": url,
        "timeout": httpx.Timeout(timeout, connect=_CONNECT_TIMEOUT),
        "limits": _LIMITS,
        "mounts": loopback_mounts(),
    }


def loopback_mounts() -> Mapping[str, None]:
    """A proxy that the environment sets is not for this machine itself."""
    return {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}


def path(proxy: str) -> str:
    """The path of a proxy.

    Raises:
        ValueError: it cannot be a proxy's name.
    """
    if not _NAME.fullmatch(proxy):
        raise ValueError(f"{proxy!r} is not a proxy's name (lower-case letters, digits and -)")
    return f"/p/{quote(proxy)}"


@contextmanager
def our_errors() -> Iterator[None]:
    """Turn httpx's failures into ours."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise ConnectFailed(f"Cannot connect to the gateway: {_why(error)}.") from error
    except httpx.TimeoutException as error:
        raise CallTimeout("The gateway did not answer in time.") from error
    except httpx.TransportError as error:
        raise ConnectionLost(f"The connection to the gateway broke: {_why(error)}.") from error
    except httpx.InvalidURL as error:
        raise NaruError(f"The gateway's URL cannot be used: {error}.") from error


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
