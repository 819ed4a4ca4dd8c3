"""What is set aside: which resources are not served as they are stored, since when, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.api.state import State
from control_plane.compile import Aside
from control_plane.compile.units import reads
from control_plane.resources import Key, Problem
from control_plane.store import Snapshot

_MEND = "Correct it, or what it uses, and write that again; everything else is live"


def since(revision: int, state: State) -> Mapping[Key, Aside]:
    """What is set aside because of what was written at `revision`."""
    live = state.compilation.live
    if live is None:
        return {}
    snapshot = state.reflector.snapshot
    return {key: why for key, why in live.aside.items() if _written(key, snapshot) == revision}


def problems(aside: Mapping[Key, Aside]) -> list[Problem]:
    """For an error's answer."""
    return [Problem(str(key), _shown(why), _MEND) for key, why in sorted(aside.items())]


def listed(state: State, aside: Mapping[Key, Aside]) -> list[dict[str, Any]]:
    """For a status."""
    snapshot, suspected = state.reflector.snapshot, state.compilation.suspected
    return [
        {
            "resource": str(key),
            "revision": _written(key, snapshot),
            "reason": why.reason,
            "node": why.node,
            "serving": "its last good version" if why.serving else "nothing",
            "certain": key not in suspected,
        }
        for key, why in sorted(aside.items())
    ]


def _shown(why: Aside) -> str:
    stays = "its last good version stays live" if why.serving else "it is not served"
    return f"{why.reason}; {stays}"


def _written(key: Key, snapshot: Snapshot) -> int:
    """The revision of the newest of all that a resource is made of."""
    stored = snapshot.stored.get(key)
    if stored is None:
        return 0
    named = reads(stored.resource, snapshot.resources)
    found = (snapshot.stored.get(k) for k in named)
    return max([stored.revision, *(each.revision for each in found if each is not None)])
