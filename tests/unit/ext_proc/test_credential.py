from __future__ import annotations

import pytest

from ext_proc.credential import header_value
from ext_proc.errors import PlanRejected
from tests.unit.ext_proc.make import CANARY


def test_a_newline_at_the_end_is_no_part_of_the_value() -> None:
    assert header_value(b"Bearer sk-1\n") == "Bearer sk-1"


@pytest.mark.parametrize(
    "bad", [b"", b"\n", b"\x00", b"a\r\nx-evil: 1", b"a\nb", b" a", b"a ", "키".encode(), b"\xff"]
)
def test_what_cannot_stand_in_a_header_is_refused_silently(bad: bytes) -> None:
    with pytest.raises(PlanRejected) as caught:
        header_value(CANARY.encode() + bad if len(bad) > 1 and bad[:1] != b" " else bad)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
