"""What is set aside: which resources are not served as they are stored, since when, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from control_plane._verdicts import written
from control_plane.api.state import State
from control_plane.compile import Aside
from control_plane.resources import Key, Problem

_MEND = "Correct it, or what it uses, and write that again; everything else is live"


def since(revision: int, state: State, asked: Collection[Key] = ()) -> Mapping[Key, Aside]:
    """What is, or was, set aside because of what was written at `revision`.

    Of what is `asked` for, also what an earlier revision set aside: to write it once more as it is
    changes nothing, and a revision that is newer by then is no proof that it is served.
    """
    live, snapshot = state.compilation.live, state.reflector.snapshot
    aside = live.aside if live is not None else {}
    now = {k: why for k, why in aside.items() if written(k, aside, snapshot) == revision}
    if live is not None and live.revision >= revision:  # one before says nothing of this write
        now.update((key, aside[key]) for key in asked if key in aside)
    return {**state.compilation.verdicts.of(revision), **now}


def certain(aside: Mapping[Key, Aside]) -> Mapping[Key, Aside]:
    """Without what is only under suspicion."""
    return {key: why for key, why in aside.items() if why.certain}


def problems(aside: Mapping[Key, Aside]) -> list[Problem]:
    """For an error's answer."""
    return [Problem(str(key), _shown(why), _MEND) for key, why in sorted(aside.items())]


def listed(state: State, aside: Mapping[Key, Aside]) -> list[dict[str, Any]]:
    """For a status."""
    snapshot, live = state.reflector.snapshot, state.compilation.live
    known = {**(live.aside if live is not None else {}), **aside}
    return [
        {
            "resource": str(key),
            "revision": written(key, known, snapshot),
            "reason": why.reason,
            "node": why.node,
            "serving": "its last good version" if why.serving else "nothing",
            "certain": why.certain,
        }
        for key, why in sorted(aside.items())
    ]


def _shown(why: Aside) -> str:
    stays = "its last good version stays live" if why.serving else "it is not served"
    return f"{why.reason}; {stays}"
