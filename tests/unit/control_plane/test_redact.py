"""What is taken out of a node's words, and how often all resources are looked at for it."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.redact import SHORTEST, Redactor, redacted
from control_plane.resources import Key, Resource, parse
from tests.support.api import credential, upstream


class Counted(dict[Key, Resource]):
    """Says how often it was gone through."""

    looks = 0

    def values(self) -> Any:
        self.looks += 1
        return super().values()


def holding(**secrets: str) -> Counted:
    found = [parse(credential(name, secret)) for name, secret in secrets.items()]
    return Counted({each.key: each for each in (parse(upstream()), *found)})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cannot use sk-secret here", "cannot use [redacted] here"),
        ("sk-secret, sk-secret", "[redacted], [redacted]"),
        ("sk-secret-of-two", "[redacted]"),
        ("nothing of it", "nothing of it"),
        ("", ""),
        ("x" * (SHORTEST - 1), "x" * (SHORTEST - 1)),
    ],
)
def test_no_secret_is_left(text: str, told: str) -> None:
    held = holding(one="sk-secret", two="sk-secret-of-two", short="x" * (SHORTEST - 1))
    assert redacted(text, held.values()) == told
    assert Redactor().redacted(text, held) == told


def test_one_snapshot_is_gone_through_once_and_another_anew() -> None:
    redactor, one, two = Redactor(), holding(key="sk-first"), holding(key="sk-second")
    assert not redactor.redacted("", one)
    assert one.looks == 0
    for _ in range(3):
        assert redactor.redacted("sk-first sk-second", one) == "[redacted] sk-second"
    assert one.looks == 1
    assert redactor.redacted("sk-first sk-second", two) == "sk-first [redacted]"
