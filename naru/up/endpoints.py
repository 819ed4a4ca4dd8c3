"""The content of `endpoints.json`: where everything is, for people, tests and the CLI. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from naru.up.child import Child
from naru.up.layout import Layout

GROUPS = ("etcd", "redis", "control_plane", "ext_proc", "ratelimit", "failover", "envoy", "bentos")


def endpoints(layout: Layout, children: Iterable[Child], *, live: bool) -> dict[str, Any]:
    """`ready` says that a request can succeed now; `redis` and `ratelimit` have no part yet."""
    at = layout.at
    pids: dict[str, list[int]] = {group: [] for group in GROUPS}
    for child in children:
        if child.pid is not None:
            pids[child.spec.group].append(child.pid)
    return {
        "ready": live,
        "gateway": at["gateway"].url,
        "api": at["api"].url,
        "xds": at["xds"].url,
        "envoy_admin": at["envoy_admin"].url,
        "etcd": str(at["etcd"]),
        "redis": None,
        "admin_token_file": str(layout.admin_token_file),
        "pids": pids,
    }
