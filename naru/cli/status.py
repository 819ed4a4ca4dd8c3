"""`naru status`: is what is stored also live, and where is everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from naru.cli._api import Api
from naru.cli._context import GlobalOptions, read_endpoints, target
from naru.cli._output import Format, print_document, table


@click.command()
@click.option(
    "-o", "--output", "form", type=click.Choice(["table", "yaml", "json"]), default="table"
)
@click.pass_obj
def status(options: GlobalOptions, form: Format) -> None:
    """Show the nodes, the revision that each has applied, and the ports."""
    with Api(target(options)) as api:
        found = api.status()
    if form != "table":
        print_document(found, form)
        return
    click.echo(_headline(found))
    click.echo(_nodes(found))
    endpoints = None if options.api_url else read_endpoints(options.data_dir)
    if endpoints:
        click.echo("\n" + _ports(endpoints))


def _headline(status: Mapping[str, Any]) -> str:
    """The newest revision, and if it is not live, why."""
    lines = [f"Revision {status['revision']}: {status['state']}"]
    for problem in status.get("compile_problems", []):
        lines.append(f"  not compiled: {problem['field']}: {problem['message']}")
    for fact in status.get("store", {}).get("degraded", []):
        lines.append(f"  {fact}")
    for node, words in status.get("refused", {}).items():
        lines.append(f"  {node} refused it: {words}")
    if status.get("refused"):
        lines.append("  What was good last stays live. Mend it: nothing newer goes live before.")
    return "\n".join(lines) + "\n"


def _nodes(status: Mapping[str, Any]) -> str:
    if not status["nodes"]:
        return "No node has connected yet."
    rows = [_row(node, status["revision"]) for node in status["nodes"]]
    return table(("NODE", "CLUSTER", "STATE", "APPLIED", "DETAIL"), rows)


def _row(node: Mapping[str, Any], revision: int) -> tuple[object, ...]:
    types: Mapping[str, Mapping[str, Any]] = node.get("types") or {}
    errors = [f"{_short(url)}: {kind['error']}" for url, kind in types.items() if kind.get("error")]
    state = _state(node, revision, refused=bool(errors))
    return node["id"], node.get("cluster"), state, node["applied_revision"], "; ".join(errors)


def _state(node: Mapping[str, Any], revision: int, *, refused: bool) -> str:
    if not node["connected"]:
        return "gone"
    if refused:
        return "rejected"
    applied = node["applied_revision"]
    return "applied" if applied is not None and applied >= revision else "pending"


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]


def _ports(endpoints: Mapping[str, Any]) -> str:
    names = ("gateway", "api", "xds", "envoy_admin", "etcd")
    pids = endpoints.get("pids") or {}
    processes = {"gateway": "envoy", "api": "control_plane", "xds": "control_plane"}
    rows = [
        (name, endpoints.get(name), " ".join(map(str, pids.get(processes.get(name, name), []))))
        for name in names
    ]
    return table(("PART", "ADDRESS", "PID"), [*rows[:3], (*rows[3][:2], None), *rows[4:]])
