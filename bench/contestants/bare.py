"""Envoy alone: the limit. One static route that rewrites the prefix and sets the provider's key.

As much as the job needs and no more: no access log, no limits, no interlock, no control plane.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from bench import upstream
from bench.contestants._model import (
    CALLERS_KEY,
    WORKERS,
    Contestant,
    Place,
    Request,
    System,
    chat_body,
)
from bench.processes import Roles, running
from naru.up import binaries
from tests.support.gateway import free_port, wait_for

PATH: Final = "/p/bare/v1/chat/completions"
_TYPES: Final = "type.googleapis.com/envoy.extensions.filters"


@dataclass(frozen=True, slots=True)
class Bare:
    """A running Envoy."""

    port: int
    roles: Roles
    settings: Mapping[str, object]


@contextmanager
def start(place: Place) -> Iterator[System]:
    """Envoy on a free port, ready."""
    port, admin = free_port(), free_port()
    document = config(port, admin, place.upstream.port)
    path = place.directory / "envoy.json"
    path.write_text(json.dumps(document, indent=2))
    command = [str(binaries.find("envoy")), "-c", str(path), "--concurrency", str(WORKERS)]
    command += ["--disable-hot-restart", "--log-level", "warning"]
    with running(command, place.directory / "envoy.log") as process:
        wait_for(lambda: process.poll() is not None or _ready(admin), 20, "bare Envoy")
        settings = {"envoy": binaries.version("envoy"), "config": document}
        yield Bare(port, {"envoy": [process.pid]}, settings)


def _ready(admin: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{admin}/ready").status_code == 200
    except httpx.HTTPError:
        return False


def config(port: int, admin: int, upstream_port: int) -> dict[str, Any]:
    """The whole configuration."""
    key = {"key": "authorization", "value": f"Bearer {upstream.KEY}"}
    route = {
        "match": {"prefix": "/p/bare/v1/"},
        "route": {"cluster": "provider", "prefix_rewrite": "/plain/v1/"},
        "request_headers_to_add": [
            {"header": key, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        ],
    }
    endpoint = {"endpoint": {"address": _loopback(upstream_port)}}
    cluster = {
        "name": "provider",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": "provider",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
    return {
        "admin": {"address": _loopback(admin)},
        "static_resources": {"listeners": [_listener(port, route)], "clusters": [cluster]},
    }


def _listener(port: int, route: Mapping[str, Any]) -> dict[str, Any]:
    router = {"@type": f"{_TYPES}.http.router.v3.Router"}
    host = {"name": "all", "domains": ["*"], "routes": [route]}
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bare",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [{"name": "router", "typed_config": router}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"name": "bare", "address": _loopback(port), "filter_chains": [chain]}


def _loopback(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _request(system: System) -> Request:
    assert isinstance(system, Bare)
    headers = {"authorization": f"Bearer {CALLERS_KEY}"}
    return Request(f"http://127.0.0.1:{system.port}{PATH}", chat_body("bench-model"), headers)


def _check(system: System, request: Request) -> None:
    """That the key is right is the provider's to say."""


CONTESTANTS: Final = (Contestant("bare", "bare", _request, _check),)
