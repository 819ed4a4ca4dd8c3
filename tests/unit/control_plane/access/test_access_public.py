"""What the package exports is what it says."""

from __future__ import annotations

import types

from control_plane import access


def test_all_is_what_is_there() -> None:
    public = {
        name
        for name, value in vars(access).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(access.__all__)
