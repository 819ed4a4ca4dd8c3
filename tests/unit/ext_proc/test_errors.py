from __future__ import annotations

import inspect
import json

import pytest

from ext_proc import errors

LEAVES = [
    error
    for _, error in inspect.getmembers(errors, inspect.isclass)
    if issubclass(error, errors.ProcError) and not error.__subclasses__()
]


@pytest.mark.parametrize("kind", LEAVES)
def test_every_error_is_json_in_openais_shape(kind: type[errors.ProcError]) -> None:
    detail = json.loads(kind().body("an-id"))["error"]
    assert detail == {
        "message": kind.message,
        "type": kind.type,
        "param": None,
        "code": kind.code,
        "request_id": "an-id",
    }
    assert kind.message.endswith(".")


@pytest.mark.parametrize("kind", LEAVES)
def test_status_says_whose_fault_it_is(kind: type[errors.ProcError]) -> None:
    assert (400 <= kind.status < 500) == issubclass(kind, errors.CallerFault)


def test_codes_are_unique_and_listed_in_the_tree() -> None:
    codes = [kind.code for kind in LEAVES]
    assert len(set(codes)) == len(codes)
    assert errors.__doc__ is not None
    for kind in LEAVES:
        assert any(
            kind.__name__ in line and f"{kind.status}  {kind.code}" in line
            for line in errors.__doc__.splitlines()
        ), kind
