from __future__ import annotations

import pytest

from ext_proc.credential import check, header_value, secret_value
from ext_proc.errors import CredentialUnavailable, PlanRejected
from ext_proc.plan import CredentialPlan
from tests.unit.ext_proc.make import CANARY

BEARER = CredentialPlan(secret="key", header="authorization", prefix="Bearer ")


def test_the_value_is_prefix_and_secret() -> None:
    assert header_value(BEARER, {"key": secret_value(b"sk-1\n")}) == "Bearer sk-1"


def test_a_secret_that_has_not_arrived() -> None:
    with pytest.raises(CredentialUnavailable) as caught:
        header_value(BEARER, {"other": "sk"})
    assert caught.value.status == 503


@pytest.mark.parametrize(
    "bad", [b"", b"\n", b"\x00", b"a\r\nx-evil: 1", b"a\nb", b" a", b"a ", "키".encode(), b"\xff"]
)
def test_what_cannot_stand_in_a_header_is_refused_silently(bad: bytes) -> None:
    with pytest.raises(PlanRejected) as caught:
        secret_value(CANARY.encode() + bad if len(bad) > 1 and bad[:1] != b" " else bad)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("prefix", "right"), [("", True), ("Bearer ", True), ("a\r\n", False)])
def test_prefixes(prefix: str, right: bool) -> None:
    plan = CredentialPlan(secret="key", header="x-api-key", prefix=prefix)
    if right:
        check(plan)
        return
    with pytest.raises(PlanRejected):
        check(plan)
