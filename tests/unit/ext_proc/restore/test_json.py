from __future__ import annotations

import json

import pytest

from ext_proc.restore import Tokens, restorer
from tests.unit.ext_proc.restore.drive import JSON, SHOP, bytewise, restore

QUOTED = SHOP.replace('"', r"\"")
TWICE = QUOTED.replace("\\", "\\\\").replace('"', r"\"")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('{"a": "x [[SHOP]] y"}', f'{{"a": "x {QUOTED} y"}}'),
        (r'"\u005b[SHOP]]"', f'"{QUOTED}"'),
        (r'"[\u005BS\u0048OP\u005d]"', f'"{QUOTED}"'),
        ('["[[SHOP]][[SHOP]]"]', f'["{QUOTED}{QUOTED}"]'),
        ('"[[[SHOP]]]"', f'"[{QUOTED}]"'),
        (r'"\\[[SHOP]]\\"', rf'"\\{QUOTED}\\"'),
        ('[["[[SHOP]]"], "[[SHOP]]"]', f'[["{QUOTED}"], "{QUOTED}"]'),
        ('{"a" : 1, "b":\n"[[SHOP]]"}', f'{{"a" : 1, "b":\n"{QUOTED}"}}'),
        ('{"a": {"b": 2}, "[[SHOP]]": "[[SHOP]]"}', f'{{"a": {{"b": 2}}, "[[SHOP]]": "{QUOTED}"}}'),
    ],
)
def test_strings_are_restored(given: str, expected: str) -> None:
    assert restore(given.encode(), JSON).decode() == expected
    assert bytewise(given.encode(), JSON).decode() == expected


@pytest.mark.parametrize(
    "data",
    [
        b'{"[[SHOP]]": 1.00, "b" : [1e5,\ttrue, null ] }\r\n',
        b'{"[[SHOP]]":{"[[SHOP]]":[1,{"[[SHOP]]":2}]}}',
        rb'"\u005bSHOP \/ \uD83D \ud83d\uDE00 \u00e9 [[SHOP]"',
        rb'"\\u005b[SHOP]]"',
        b'"[[SHOP',
        b'"\xff\xfe[\xec\x84"',
        rb'"\x \uZZZZ \u12"',
        b'"[\\',
        b'{"a":"x""[[SHOP]]"}',
        b"[[SHOP]]",
        b"",
        "\ufeff{}".encode(),
    ],
)
def test_all_else_is_left_alone(data: bytes) -> None:
    assert restore(data, JSON) == data
    assert bytewise(data, JSON) == data


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (r'{"arguments": "{\"q\": \"[[SHOP]]\"}"}', rf'{{"arguments": "{{\"q\": \"{TWICE}\"}}"}}'),
        (r'{"arguments": "[\"\\u005b[SHOP]]\"]"}', rf'{{"arguments": "[\"{TWICE}\"]"}}'),
        (r'{"arguments": "[\"\u005b[SHOP]]\"]"}', rf'{{"arguments": "[\"{TWICE}\"]"}}'),
        (r'{"arguments": "[\u0022[[SHOP]]\u0022]"}', rf'{{"arguments": "[\u0022{TWICE}\u0022]"}}'),
        (r'{"arguments": "[\"\u005cu005b[SHOP]]\"]"}', rf'{{"arguments": "[\"{TWICE}\"]"}}'),
    ],
)
def test_arguments_are_json_in_a_string(given: str, expected: str) -> None:
    assert restore(given.encode(), JSON).decode() == expected
    assert bytewise(given.encode(), JSON).decode() == expected
    assert SHOP in json.dumps(
        json.loads(json.loads(expected)["arguments"]), ensure_ascii=False
    ).replace(r"\"", '"')


@pytest.mark.parametrize(
    "data",
    [
        rb'{"arguments": "[[SHOP]]"}',
        rb'{"arguments": "{\"[[SHOP]]\": 1}"}',
        rb'{"arguments": "{\"a\": 1, \"[[SHOP]]\": [[SHOP]]}"}',
    ],
)
def test_outside_of_the_inner_strings_nothing_is_restored(data: bytes) -> None:
    assert restore(data, JSON) == bytewise(data, JSON) == data


def test_input_of_a_tool_is_no_json_in_a_string() -> None:
    data = b'{"input": {"arguments": "-v [[SHOP]]"}}'
    assert json.loads(restore(data, JSON)) == {"input": {"arguments": f"-v {SHOP}"}}


def test_the_longest_token_wins() -> None:
    tokens = {"[a]": "short", "[a]b": "long", "b[": "other"}
    assert bytewise(b'"[a]b [a]c [a]"', JSON, tokens) == b'"long shortc short"'
    assert bytewise(b'"b[a]b"', JSON, tokens) == b'"othera]b"'


def test_no_more_than_a_possible_token_is_held_back() -> None:
    answer = restorer(JSON, Tokens({"[[SHOP]]": SHOP}))
    assert answer.feed(b'{"a": "x [y [[SHO') == b'{"a": "x [y '
    assert answer.feed(b"w") == b"[[SHOw"
    assert answer.feed(rb" \u005") == b" "
    assert answer.feed(b"c") == rb"\u005c"
    assert answer.feed(rb"\ud83d") == rb"\ud83d"
    assert answer.feed(b'[[SHOP]]"') == f'{QUOTED}"'.encode()
    assert answer.finish() == b""


def test_beyond_what_parsers_read_nothing_is_restored() -> None:
    deep = b"[" * 1025 + b'"[[SHOP]]"'
    assert restore(deep, JSON) == deep
    assert restore(deep[1:], JSON) != deep[1:]


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/Problem+JSON", JSON]
)
def test_kinds_of_json(kind: str) -> None:
    assert restore(b'"[[SHOP]]"', kind) == f'"{QUOTED}"'.encode()


@pytest.mark.parametrize("kind", ["", "text/plain", "audio/mpeg", "application/jsonlines"])
def test_other_kinds_pass_untouched(kind: str) -> None:
    assert restore(b'"[[SHOP]]"\xff', kind) == b'"[[SHOP]]"\xff'
