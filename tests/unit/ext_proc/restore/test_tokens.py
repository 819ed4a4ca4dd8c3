from __future__ import annotations

import traceback

import pytest

from ext_proc.restore import Tokens
from tests.unit.ext_proc.restore.drive import JSON, restore


@pytest.mark.parametrize("texts", [{"": "x"}, {"\ud83d": "x"}, {"x": "secret\ud83d"}])
def test_tokens_that_cannot_be_written(texts: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"^a token") as caught:
        Tokens(texts)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_no_tokens() -> None:
    data = rb'{"a": "[[T]] \u005b\n"}'
    assert restore(data, JSON, {}) == data


def test_texts_are_not_shown() -> None:
    assert "secret" not in repr(Tokens({"x": "secret"}))


def test_a_text_is_the_inside_of_a_json_string() -> None:
    assert Tokens({"[[T]]": 'a"\\\n가'}).text(b"[[T]]") == r"a\"\\\n가".encode()


@pytest.mark.parametrize(
    ("start", "expected"),
    [("[", True), ("[[T", True), ("[[T]]", True), ("[[T]]x", False), ("x", False)],
)
def test_what_may_become_a_token(start: str, expected: bool) -> None:
    assert Tokens({"[[T]]": "", "[[T]]x": ""}).may_become(start.encode()) is expected


@pytest.mark.parametrize(
    ("data", "absent"),
    [
        (r'{"choices":[{"delta":{"content":" [1] a[i] \n\"q\""}}],"logprobs":[]}', True),
        (r'{"a": "\uc11c\uC11C"}', True),
        (r'"[[T]]"', False),
        (r'"x ["', False),
        (r'"\u005b["', False),
        (r'"\u005B["', False),
        (r'"[\u005bT]]"', False),
        (r'"\\u005b"', False),
        (r'"\u005cu005b"', False),
    ],
)
def test_where_tokens_are_certainly_absent(data: str, absent: bool) -> None:
    assert Tokens({"[[T]]": ""}).are_absent(data.encode()) is absent


@pytest.mark.parametrize(
    ("token", "data"),
    [
        ("x", '"x"'),
        ('"t', r'"\"t"'),
        ("\\t", r'"\\t"'),
        ("\nt", r'"\nt"'),
        ("/t", '"/t"'),
        ("/t", r'"\/t"'),
        ("\x01t", r'"\u0001t"'),
        ("😀t", r'"\ud83d\ude00t"'),
        ("😀t", r'"\ud83d"'),
        ('["', r'"[\""'),
    ],
)
def test_tokens_of_any_character_are_seen(token: str, data: str) -> None:
    assert not Tokens({token: ""}).are_absent(data.encode())


@pytest.mark.parametrize("name", ["arguments", "partial_json"])
def test_json_in_strings_is_always_of_concern(name: str) -> None:
    tokens = Tokens({"[[T]]": ""})
    assert tokens.are_of_no_concern(b'{"content": "x"}')
    assert not tokens.are_of_no_concern(b'{"%b": "{"}' % name.encode())
