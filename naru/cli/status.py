"""`naru status`: is what is stored also live, and where is everything."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from naru.cli._api import Api
from naru.cli._context import GlobalOptions, read_endpoints, target
from naru.cli._output import Format, print_document, table

_EVERY: Final = 1.0  # seconds


@click.command()
@click.option(
    "-o", "--output", "form", type=click.Choice(["table", "yaml", "json"]), default="table"
)
@click.option("-w", "--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@click.pass_obj
def status(options: GlobalOptions, form: Format, watch: bool) -> None:
    """Show the nodes, the revision that each has applied, what is set aside, and the ports."""
    with Api(target(options)) as api:
        while True:
            found = api.status()
            if watch:
                click.clear()
            _show(found, form, options)
            if not watch:
                return
            time.sleep(_EVERY)


def _show(found: Mapping[str, Any], form: Format, options: GlobalOptions) -> None:
    if form != "table":
        print_document(found, form)
        return
    click.echo(_headline(found))
    click.echo(_nodes(found))
    if found.get("set_aside"):
        click.echo("\n" + _set_aside(found["set_aside"]))
    endpoints = None if options.api_url else read_endpoints(options.data_dir)
    if endpoints:
        click.echo("\n" + _ports(endpoints))


def _headline(status: Mapping[str, Any]) -> str:
    """The newest revision, and if it is not live, why."""
    aside = len(status.get("set_aside") or ())
    besides = f", with {aside} set aside" if aside else ""
    lines = [f"Revision {status['revision']}: {status['state']}{besides}"]
    for problem in status.get("compile_problems", []):
        lines.append(f"  not compiled: {problem['field']}: {problem['message']}")
    for node, words in status.get("refused", {}).items():
        lines.append(f"  {node} refused it: {words}")
    if status.get("refused"):
        lines.append("  What was good last stays live.")
    lines += [f"  {fact}" for fact in _facts(status.get("store") or {})]
    for found in status.get("expiring", []):
        what = "has expired and is still sent" if found["expired"] else "expires soon"
        lines.append(f"  credential {found['name']} {what}: {found['expires_at']}")
    return "\n".join(lines) + "\n"


def _facts(store: Mapping[str, Any]) -> list[str]:
    """What is not as it should be about what is stored."""
    facts = [str(fact) for fact in store.get("degraded") or ()]
    trouble = store.get("trouble")
    if trouble and not any(trouble in fact for fact in facts):
        facts.append(f"Nothing can be written: {trouble}")
    return facts


def _nodes(status: Mapping[str, Any]) -> str:
    if not status["nodes"]:
        return "No node has connected yet."
    rows = [_row(node, status["revision"]) for node in status["nodes"]]
    return table(("NODE", "CLUSTER", "STATE", "APPLIED", "DETAIL"), rows)


def _set_aside(found: Sequence[Mapping[str, Any]]) -> str:
    """What is not served as it is stored. One reason may be that of many."""
    rows = [
        (each["resource"], each["revision"], each["serving"], each["reason"])
        for each in sorted(found, key=lambda each: str(each["resource"]))
    ]
    title = "Set aside until it, or what it uses, is corrected; everything else is live:"
    return f"{title}\n{table(('RESOURCE', 'SINCE', 'SERVING', 'WHY'), rows)}"


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
