"""What the chaos run counts as wrong: it must be able to see a mixture, and a write that is lost."""

from __future__ import annotations

from typing import Any, cast

import httpx
import pytest

from bench.chaos._calls import Callers
from bench.chaos._echo import Echo, echoing
from bench.chaos._edits import Writer
from bench.chaos._fleet import Fleet
from bench.chaos._run import _lost


@pytest.mark.parametrize(
    ("text", "is_mixed"),
    [
        ('{"path": "/g7/v1", "body": "g7"}', False),
        ('{"path": "/g7/v1", "body": "g8"}', True),
        ('{"path": "/g7/v1", "body": ""}', True),
    ],
)
def test_an_answer_of_two_generations_or_with_a_part_missing_is_a_mixture(
    text: str, is_mixed: bool
) -> None:
    callers = Callers([])
    callers._look_at(200, text, 2)
    assert bool(callers.mixed) is is_mixed
    assert callers.answered == 1


def test_what_is_no_answer_is_a_failure_by_its_code() -> None:
    callers = Callers([])
    callers._look_at(503, '{"error": {"code": "plan_unavailable"}}', 2)
    assert (callers.answered, dict(callers.failures)) == (0, {"503 plan_unavailable": 1})


class Templates:
    """A control plane that has these templates."""

    def __init__(self, *numbers: int) -> None:
        self._items = [{"metadata": {"name": f"written-{number}"}} for number in numbers]

    def get(self, path: str, params: dict[str, str]) -> httpx.Response:
        return httpx.Response(200, json={"items": self._items, "continue": None})


def test_a_write_that_is_lost_and_one_that_should_not_be_there_are_found() -> None:
    writer = Writer([], Echo(1))
    writer.stored, writer.refused = {1, 2}, {3}

    class Made:
        apis = (Templates(1, 2, 4), Templates(2, 3))

    assert _lost(writer, cast(Fleet, cast(Any, Made))) == [
        "lost: [1]",
        "written though refused: [3]",
    ]


def test_the_echo_says_where_and_what_it_was_asked() -> None:
    with echoing() as echo:
        answer = httpx.post(f"{echo.url(5)}/chat", json={"model": "m-g5"}).json()
    assert answer == {"path": "/g5/v1/chat", "body": {"model": "m-g5"}}
