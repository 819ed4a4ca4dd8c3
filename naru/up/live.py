"""Whether the gateway as a whole can answer a request, from the control plane's status. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def not_live(status: Mapping[str, Any] | None, expected: Collection[str]) -> list[str]:
    """What still stands in the way, one line for each thing; empty when all is live.

    `status` is the answer of `GET /api/v1/status`; `expected` are the ids of the nodes (Envoy and
    the ext_proc workers) that must have applied its newest revision.
    """
    if status is None:
        return ["the control plane does not answer"]
    nodes = {node["id"]: node for node in status["nodes"]}
    reasons = [_of_node(name, nodes.get(name), status["revision"]) for name in sorted(expected)]
    return [reason for reason in reasons if reason]


def _of_node(name: str, node: Mapping[str, Any] | None, revision: int) -> str:
    if node is None or not node["connected"]:
        return f"{name} has not connected to the control plane"
    applied = node["applied_revision"]
    if applied is not None and applied >= revision:
        return ""
    errors = [kind["error"] for kind in node.get("types", {}).values() if kind.get("error")]
    refused = f"; it refused: {'; '.join(errors)}" if errors else ""
    return f"{name} has not applied revision {revision}{refused}"
