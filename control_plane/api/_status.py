"""How far revisions have come on the nodes, as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

from control_plane import _expiry
from control_plane.api import _aside
from control_plane.api._answers import problem_json
from control_plane.api._difference import short
from control_plane.api.state import State
from control_plane.resources import Key, Problem
from control_plane.resources._moment import show
from control_plane.store import Snapshot, wrong_key
from control_plane.xds import NodeRevision, NodeStatus, RevisionStatus


def revision_status(
    state: State, status: RevisionStatus, asked: Collection[Key] = ()
) -> dict[str, Any]:
    """`{"state": …, "nodes": {id: {"state", "detail"}}, "set_aside": […]}`.

    Of a revision of which something is set aside, that is told of the node that refused it; of what
    is `asked` for, whichever revision set it aside.
    """
    aside = _aside.since(status.revision, state, asked)
    nodes = {
        node: {"state": found.state, "detail": _detail(state, found)}
        for node, found in sorted(status.nodes.items())
    }
    certain = _aside.certain(aside)
    for why in certain.values():
        if why.node in nodes:
            nodes[why.node] = {"state": "rejected", "detail": why.reason}
    overall = "rejected" if certain else "pending" if aside else status.state
    return {"state": overall, "nodes": nodes, "set_aside": _aside.listed(state, aside)}


def system_status(state: State) -> dict[str, Any]:
    """Everything at a glance: revisions, what cannot be read or compiled, and every node."""
    now = datetime.now(UTC)
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
        "set_aside": _aside.listed(state, live.aside) if live is not None else [],
        "store": {
            "synced": state.reflector.synced,
            "trouble": state.reflector.trouble,
            "degraded": degraded(state),
            "unreadable": unreadable,
            **_upkeep(state),
        },
        "expiring": [
            {
                "kind": "Credential",
                "name": found.name,
                "expires_at": show(found.at),
                "expired": found.ended(now),
            }
            for found in _expiry.ending(snapshot.resources, now)
        ],
        "resources": dict(sorted(Counter(key.plural for key in snapshot.stored).items())),
        "nodes": [_node(state, node) for node in state.hub.ledger.nodes()],
    }


def _newest(state: State, snapshot: Snapshot) -> dict[str, Any]:
    """Whether what is stored is live: `{"state": …, "refused": {node: its words}}`."""
    status = state.hub.ledger.status(snapshot.revision)
    refused = {
        node: redacted(state, found.detail)
        for node, found in sorted(status.nodes.items())
        if found.state == "rejected"
    }
    return {"state": status.state, "refused": refused}


def _upkeep(state: State) -> dict[str, Any]:
    """How full etcd is, and what is wrong with how it is run."""
    if state.upkeep is None or state.upkeep.space is None:
        return {}
    found = state.upkeep.space
    warnings = list(state.upkeep.problems)
    if found.short:
        what = "full: no write is taken" if found.full else "nearly full"
        warnings.append(
            f"etcd is {what} ({found.size:,} of {found.quota:,} bytes, {found.in_use:,} in use): "
            "raise its --quota-backend-bytes, or store less"
        )
    space = {"size": found.size, "in_use": found.in_use, "quota": found.quota, "full": found.full}
    return {"space": space, "warnings": warnings}


def compile_problems(state: State, revision: int) -> tuple[Problem, ...]:
    """Why a revision is not served: it, or the later one that holds it too, does not compile."""
    outcome, live = state.compilation.outcome, state.compilation.live
    if outcome is None or outcome.revision < revision:
        return ()
    return outcome.problems if live is None or live.revision < revision else ()


def missing_for_readiness(state: State) -> list[str]:
    """What keeps the control plane from serving, for everybody; empty when it is ready.

    etcd being away does not: configuration goes on being served from what was read. No problem's
    own words: they can name resources, paths and hosts, and `/api/v1/status` has them.
    """
    if not state.reflector.synced:
        return ["etcd has not been read"]
    if state.compilation.live is None and (
        why := wrong_key(state.reflector.snapshot, state.reflector.problems)
    ):
        return [why]
    if state.compilation.live is None:
        outcome = state.compilation.outcome
        why = f"problems: {len(outcome.problems)}" if outcome else "compiling"
        return [f"nothing has been compiled yet ({why})"]
    return []


def degraded(state: State) -> list[str]:
    """What does not keep it from serving, and should be known; empty when all is well."""
    return [f"{fact}: {why}" if why else fact for fact, why in _degraded(state)]


def degraded_for_all(state: State) -> list[str]:
    """The same for everybody: without etcd's words and paths of this machine."""
    return [fact for fact, _ in _degraded(state)]


def _degraded(state: State) -> Iterator[tuple[str, str]]:
    """Each fact, and its reason in others' words."""
    reflector = state.reflector
    if reflector.restored is not None:
        saved = datetime.fromtimestamp(reflector.restored.saved, UTC).isoformat(timespec="seconds")
        fact = (
            f"etcd has not been read since this process began: revision "
            f"{reflector.snapshot.revision} is served as it was saved at {saved}"
        )
        yield fact, ""
    if reflector.synced and reflector.trouble is not None:
        yield "etcd is away, so nothing can be written", reflector.trouble
    if (unsaved := state.store.unsaved) is not None:
        yield "the newest revision is not saved for a start without etcd", unsaved


def redacted(state: State, text: str) -> str:
    """A node's words, without any secret that they might quote."""
    return state.redactor.redacted(text, state.reflector.snapshot.resources)


def _detail(state: State, found: NodeRevision) -> str:
    """Only of a refusal, the words are a node's; all others are our own."""
    return redacted(state, found.detail) if found.state == "rejected" else found.detail


def _node(state: State, node: NodeStatus) -> dict[str, Any]:
    types = {
        short(type_url): {
            "version": found.version,
            "pending": found.pending,
            "error": redacted(state, found.error),
        }
        for type_url, found in sorted(node.types.items())
    }
    return {
        "id": node.id,
        "cluster": node.cluster,
        "user_agent": node.user_agent,
        "connected": node.connected,
        "control_plane": node.replica,
        "silent": node.silent,
        "as_last_seen": node.old,
        "applied_revision": node.applied_revision,
        "types": types,
    }
