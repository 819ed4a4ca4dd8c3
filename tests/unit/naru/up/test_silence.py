from __future__ import annotations

import pytest

from naru.up.silence import LONGEST, Silence


def test_one_unanswered_question_says_nothing() -> None:
    silence = Silence()
    for start in range(3):
        silence.asked(start, 0)
        assert not silence.is_death(start + 60, 0)  # whoever asked was held up
        silence.answered()


def test_the_second_in_a_row_does() -> None:
    silence = Silence()
    silence.asked(0, 0)
    assert not silence.is_death(1.5, 0)
    silence.asked(1.75, 0)
    assert silence.is_death(3.25, 0)


@pytest.mark.parametrize(("share", "questions"), [(0, 2), (0.4, 2), (0.6, 4), (1, 4)])
def test_a_busy_one_gets_longer_but_not_for_ever(share: float, questions: int) -> None:
    silence, asked, now = Silence(), 0, 0.0
    while True:
        asked += 1
        silence.asked(now, now * share)
        now += 1.5
        if silence.is_death(now, now * share):
            break
    assert asked == questions
    assert now <= LONGEST


def test_one_that_is_stopped_at_its_work_gets_no_longer() -> None:
    silence = Silence()
    silence.asked(0, 0)
    assert not silence.is_death(1.5, 1.5)
    silence.asked(1.5, 1.5)
    assert silence.is_death(3, 1.5)
