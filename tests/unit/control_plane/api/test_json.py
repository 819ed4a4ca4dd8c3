"""`_json`: strict where parsers differ."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.api import _json
from control_plane.api._json import loads
from control_plane.api.errors import BadDocument, BodyTooLarge

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_every_json_value_is_read_as_it_is(value: object) -> None:
    assert loads(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' is given twice"),
        ('[{"b": {"c": 1, "c": 1}}]', "the key 'c' is given twice"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ("[-Infinity]", "not a JSON number"),
        ("[1e999]", "too large"),
        ('["\\ud800"]', "not allowed"),
        ('{"\\udc00": 1}', "not allowed"),
        ("[18446744073709551616]", "64-bit"),
        ("[" + "1" * 5000 + "]", "number too long"),
        ("[" * 65 + "]" * 65, "nested deeper"),
        ("[" * 100_000, "nesting too deep"),
        ('{"a":' * 100_000, "nesting too deep"),
        ("", "not JSON: Expecting value at line 1, column 1"),
        ("{'a': 1}", "not JSON"),
        ('{"a": 1,}', "not JSON"),
        ("{} {}", "not JSON"),
        ('{"a": "\n"}', "not JSON"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadDocument) as caught:
        loads(text)
    assert says in caught.value.message


def test_64_levels_are_taken() -> None:
    assert loads("[" * 64 + "]" * 64)


def test_the_number_of_values_is_bounded_before_they_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_json, "MOST_NODES", 100)
    with pytest.raises(BodyTooLarge):
        loads("[" + "{}," * 100 + "{}]")
    assert len(loads("[" + "1," * 98 + "1]")) == 99


def test_a_long_or_strange_key_is_shown_short_and_plain() -> None:
    key = "키" * 100
    with pytest.raises(BadDocument) as caught:
        loads(json.dumps({key: 1})[:-1] + ", " + json.dumps({key: 1})[1:])
    assert caught.value.message.isascii()
    assert len(caught.value.message) < 500
