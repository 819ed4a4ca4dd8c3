"""`_yaml`: what of YAML is taken, and what is refused."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from control_plane.api import _yaml
from control_plane.api._yaml import load_all
from control_plane.api.errors import ApiError, BadDocument, BodyTooLarge

BOMB = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 2024-01-31", {"a": "2024-01-31"}),
        ("a: no", {"a": "no"}),
        ("a: [true, False, ~, null, '', 'null']", {"a": [True, False, None, None, "", "null"]}),
        ("a: [1, -2, 1.5, 1e3, .5, '1']", {"a": [1, -2, 1.5, 1000.0, 0.5, "1"]}),
        ("a: [0x1F, 1_000, 12:30, '0o7']", {"a": ["0x1F", "1_000", "12:30", "0o7"]}),
        ("a: !!str 5", {"a": "5"}),
        ("a: |\n  김치\n  볶음밥\n", {"a": "김치\n볶음밥\n"}),
        ('{"a": {"b": [1, "\\ud55c"]}}', {"a": {"b": [1, "한"]}}),
        ("'<<': x", {"<<": "x"}),
        ("'1': x", {"1": "x"}),
        ("a:", {"a": None}),
    ],
)
def test_values_are_those_of_the_core_schema(text: str, value: object) -> None:
    assert list(load_all(text)) == [value]


def test_documents_are_separate_and_empty_ones_left_out() -> None:
    assert list(load_all("---\na: 1\n---\n---\na: 2\n...\n---\n# nothing\n")) == [
        {"a": 1},
        {"a": 2},
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "anchors and aliases are not allowed, at line 1"),
        ("a: *x", "anchors and aliases"),
        ("a: &x 1", "anchors and aliases"),
        ("a: 1\na: 2", "the key 'a' is given twice, at line 2"),
        ("a: {b: 1, b: 1}", "given twice"),
        ("<<: {a: 1}", "merge keys"),
        ("1: x", "must be a string"),
        ("true: x", "must be a string"),
        ("? [a]\n: 1", "a key must be a string"),
        ("? {a: 1}\n: 1", "a key must be a string"),
        ("a: !!python/object/apply:os.system [id]", "tags are not allowed"),
        ("a: !!binary aGk=", "tags are not allowed"),
        ("!x a: 1", "tags are not allowed"),
        ("a: .inf", "finite"),
        ("a: 1e999", "finite"),
        ("a: 99999999999999999999", "64-bit"),
        ("[" * 65, "nested deeper"),
        ("- " * 65 + "x", "nested deeper"),
        ("a: [", "not YAML"),
        ("a:\n\tb: 1", "not YAML"),
        ("a: \x01", "not YAML"),
        ('a: "\\ud800"', "not YAML"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadDocument) as caught:
        list(load_all(text))
    assert says in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000_000,
        "- " * 5_000_000,
        "? " * 5_000_000,
        "{a: " * 2_500_000,
        BOMB,
        "!" * 10_000_000,
    ],
    ids=["lists", "items", "keys", "objects", "aliases", "tags"],
)
def test_bombs_end_at_once_and_stay_small(text: str) -> None:
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ApiError):
        list(load_all(text))
    seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 5
    assert peak < 6 * len(text.encode()) + 1_000_000


def test_the_number_of_values_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_yaml, "MOST_NODES", 100)
    assert len(next(load_all("[" + "1," * 90 + "]"))) == 90
    with pytest.raises(BodyTooLarge, match="more than 100 values"):
        list(load_all("[" + "1," * 101 + "]"))
