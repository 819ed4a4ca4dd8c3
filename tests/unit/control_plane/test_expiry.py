"""Credentials that end: found, said once a day, and never kept from being sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from control_plane._expiry import Ending, Reminder, ending
from control_plane.resources import InvalidResource
from tests.support.documents import credential

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def at(**delta: float) -> datetime:
    return NOW + timedelta(**delta)


def test_those_within_fourteen_days_are_found_the_first_one_first() -> None:
    moments = {"late": at(days=15), "soon": at(days=13), "over": at(days=-1), "near": at(hours=5)}
    found = [credential(name, expiresAt=when.isoformat()) for name, when in moments.items()]
    found.append(credential("never"))
    resources = {each.key: each for each in found}
    assert [each.name for each in ending(resources, NOW)] == ["over", "near", "soon"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-12-31T00:00:00Z", "2026-12-31T00:00:00Z"),
        ("2026-12-31t09:00:00.75+09:00", "2026-12-31T00:00:00Z"),
    ],
)
def test_a_moment_is_shown_in_utc(text: str, shown: str) -> None:
    assert credential(expiresAt=text).to_document()["spec"]["expiresAt"] == shown


@pytest.mark.parametrize(
    "text", ["2026-12-31", "2026-12-31T00:00:00", "2026-13-01T00:00:00Z", "tomorrow", 7, True]
)
def test_what_is_no_moment_is_refused(text: object) -> None:
    with pytest.raises(InvalidResource, match="expiresAt"):
        credential(expiresAt=text)


def test_words_say_when_and_what_to_do() -> None:
    assert "expires in 13 days (2026-06-15T11:00:00Z)" in Ending(at(days=13, hours=23), "k").words(
        NOW
    )
    assert "expires in 47 hours" in Ending(at(hours=47), "k").words(NOW)
    assert "has expired (2026-06-01T11:00:00Z) and is still sent" in Ending(
        at(hours=-1), "k"
    ).words(NOW)


def test_it_is_said_once_a_day_and_when_it_has_ended() -> None:
    reminder, found = Reminder(), (Ending(at(hours=30), "k"),)
    assert len(reminder.due(found, NOW)) == 1
    assert reminder.due(found, at(hours=23)) == []
    assert len(reminder.due(found, at(hours=24))) == 1
    (ended,) = reminder.due(found, at(hours=31))
    assert "has expired" in ended
    assert reminder.due((), at(hours=32)) == []
