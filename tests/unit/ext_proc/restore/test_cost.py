"""What an answer costs, whatever the provider puts in it.

Four times as long an answer takes about four times as long; what grows with the square takes
sixteen times as long. And little of it is looked at in Python, even if it is all first characters.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from unittest.mock import Mock

import pytest

from ext_proc.restore import _text
from tests.unit.ext_proc.restore.drive import JSON, event, restore


def choices_that_end(count: int) -> bytes:
    delta = {"content": "[["}
    choices = [{"index": n, "delta": delta, "finish_reason": "stop"} for n in range(count)]
    return event({"choices": choices})


def pieces_beside_many_fields(count: int) -> bytes:
    choices = [{"index": 0, "delta": {"content": "[["}}] * count
    return event({**{f"{n}": [] for n in range(count)}, "choices": choices})


def took(data: bytes) -> float:
    begin = time.process_time()
    restore(data)
    return time.process_time() - begin


@pytest.mark.parametrize("make", [choices_that_end, pieces_beside_many_fields])
def test_time_is_linear(make: Callable[[int], bytes]) -> None:
    few = min(took(make(2_000)) for _ in range(3))
    many = min(took(make(8_000)) for _ in range(3))
    assert many < 9 * few + 0.002


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Sees where a token was looked for."""
    spy = Mock(side_effect=_text.Text._window)
    monkeypatch.setattr(_text.Text, "_window", lambda *args: spy(*args))
    return spy


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Sees which escapes were read."""
    spy = Mock(side_effect=_text.unit)
    monkeypatch.setattr(_text, "unit", spy)
    return spy


LONG = {"[[" + "A" * 60 + "]]": "x", "⟦SHOP⟧": "x"}


@pytest.mark.parametrize(
    "text", [r"[\n", r"\u005b\n", r"\n", "[", "[[", r"\u005b", r"\uae40", r"\u27e7", r"[\u27e7"]
)
@pytest.mark.parametrize("token", LONG)
def test_what_begins_no_token_is_passed_over(windows: Mock, text: str, token: str) -> None:
    restore(b'{"a": "%b"}' % (text.encode() * 500), JSON, {token: "x"})
    assert windows.call_count <= 2


@pytest.mark.parametrize(
    "text", [r"[[\n", r"[[AAA\u0041[", r"\u005b\u005bA\u005b", r"\u27e6\u0053\u0048\u0053"]
)
@pytest.mark.parametrize("token", LONG)
def test_no_escape_is_read_after_nothing_can_match(units: Mock, text: str, token: str) -> None:
    restore(b'{"a": "%b"}' % (text.encode() * 500), JSON, {token: "x"})
    assert units.call_count <= 500 * 8
