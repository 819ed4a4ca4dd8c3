"""How far revisions have come on the nodes, as JSON."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

from control_plane.api._answers import problem_json
from control_plane.api._difference import short
from control_plane.api.state import State
from control_plane.resources import Credential, Problem
from control_plane.store import Snapshot
from control_plane.xds import NodeStatus, RevisionStatus

_SHORTEST: Final = 6
"""Characters; a shorter secret would blot out ordinary words."""


def revision_status(status: RevisionStatus, snapshot: Snapshot) -> dict[str, Any]:
    """`{"state": …, "nodes": {id: {"state", "detail"}}}`."""
    nodes = {
        node: {"state": found.state, "detail": redacted(found.detail, snapshot)}
        for node, found in sorted(status.nodes.items())
    }
    return {"state": status.state, "nodes": nodes}


def system_status(state: State) -> dict[str, Any]:
    """Everything at a glance: revisions, what cannot be read or compiled, and every node."""
    snapshot, outcome, live = (
        state.reflector.snapshot,
        state.compilation.outcome,
        state.compilation.live,
    )
    unreadable = [
        {"key": problem.key, "code": problem.code, "message": problem.message}
        for problem in state.reflector.problems.values()
    ]
    return {
        "revision": snapshot.revision,
        **_newest(state, snapshot),
        "compiled_revision": None if live is None else live.revision,
        "compile_problems": [problem_json(p) for p in outcome.problems] if outcome else [],
        "store": {
            "synced": state.reflector.synced,
            "trouble": state.reflector.trouble,
            "degraded": degraded(state),
            "unreadable": unreadable,
        },
        "resources": dict(sorted(Counter(key.plural for key in snapshot.stored).items())),
        "nodes": [_node(node, snapshot) for node in state.hub.ledger.nodes()],
    }


def _newest(state: State, snapshot: Snapshot) -> dict[str, Any]:
    """Whether what is stored is live: `{"state": …, "refused": {node: its words}}`."""
    status = state.hub.ledger.status(snapshot.revision)
    refused = {
        node: redacted(found.detail, snapshot)
        for node, found in sorted(status.nodes.items())
        if found.state == "rejected"
    }
    return {"state": status.state, "refused": refused}


def compile_problems(state: State, revision: int) -> tuple[Problem, ...]:
    """Why a revision is not served: it, or the later one that holds it too, does not compile."""
    outcome, live = state.compilation.outcome, state.compilation.live
    if outcome is None or outcome.revision < revision:
        return ()
    return outcome.problems if live is None or live.revision < revision else ()


def missing_for_readiness(state: State) -> list[str]:
    """What keeps the control plane from serving; empty when it is ready.

    etcd being away does not: configuration goes on being served from what was read.
    """
    missing = []
    if not state.reflector.synced:
        missing.append(f"etcd has not been read: {state.reflector.trouble or 'reading'}")
    elif state.compilation.live is None:
        outcome = state.compilation.outcome
        why = "; ".join(map(str, outcome.problems)) if outcome else "compiling"
        missing.append(f"nothing has been compiled yet: {why}")
    return missing


def degraded(state: State) -> list[str]:
    """What does not keep it from serving, and should be known; empty when all is well."""
    facts, reflector = [], state.reflector
    if reflector.restored is not None:
        saved = datetime.fromtimestamp(reflector.restored.saved, UTC).isoformat(timespec="seconds")
        facts.append(
            f"etcd has not been read since this process began: revision "
            f"{reflector.snapshot.revision} is served as it was saved at {saved}"
        )
    if reflector.synced and reflector.trouble is not None:
        facts.append(f"etcd is away, so nothing can be written: {reflector.trouble}")
    if state.store.unsaved is not None:
        facts.append(
            f"the newest revision could not be saved for a start without etcd: {state.store.unsaved}"
        )
    return facts


def redacted(text: str, snapshot: Snapshot) -> str:
    """A node's words, without any secret that they might quote."""
    for resource in snapshot.resources.values() if text else ():
        if isinstance(resource, Credential) and resource.spec.secret is not None:
            secret = resource.spec.secret.get_secret_value()
            if len(secret) >= _SHORTEST:
                text = text.replace(secret, "[redacted]")
    return text


def _node(node: NodeStatus, snapshot: Snapshot) -> dict[str, Any]:
    types = {
        short(type_url): {
            "version": found.version,
            "pending": found.pending,
            "error": redacted(found.error, snapshot),
        }
        for type_url, found in sorted(node.types.items())
    }
    return {
        "id": node.id,
        "cluster": node.cluster,
        "user_agent": node.user_agent,
        "connected": node.connected,
        "applied_revision": node.applied_revision,
        "types": types,
    }
