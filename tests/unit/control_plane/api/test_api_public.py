"""What the package exports is what it says."""

from __future__ import annotations

import types

from control_plane import api
from control_plane.api import errors


def test_all_is_what_is_there() -> None:
    public = {
        name
        for name, value in vars(api).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(api.__all__)


def test_every_error_is_exported_with_a_code_of_its_own() -> None:
    found = [value for value in vars(errors).values()
             if isinstance(value, type) and issubclass(value, errors.ApiError)]  # fmt: skip
    assert {error.__name__ for error in found} <= set(api.__all__)
    assert len({error.code for error in found}) == len(found)
    assert all(f"{error.status}" in str(errors.__doc__) for error in found)
    assert all(error.code in str(errors.__doc__) for error in found)
