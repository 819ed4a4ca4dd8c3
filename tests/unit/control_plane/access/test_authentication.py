"""Tokens: made, kept as a hash, proven, expired, revoked; and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.access import ROOT, Authenticator, Token, TokenRequest, mint, tokens_in
from control_plane.store import Snapshot, StoredRecord

NOW = 1_800_000_000.0


class Root:
    def admits(self, authorization: list[bytes]) -> bool:
        return authorization == [b"Bearer the-root"]


def new(expires: str | None = None, **more: Any) -> tuple[Token, str]:
    asked = {"name": "ci", "roles": ["developer"], "teams": ["a"], "expiresAt": expires, **more}
    return mint(TokenRequest.of(asked, NOW), ROOT, NOW)


def snapshot(*tokens: Token, value: bytes | None = None) -> Snapshot:
    return Snapshot(records={t.record: StoredRecord(value or t.encode(), 1) for t in tokens})


def authenticator(now: float = NOW) -> Authenticator:
    return Authenticator(Root(), lambda: now)


def bearer(text: str) -> list[bytes]:
    return [f"Bearer {text}".encode()]


def test_its_holder_is_known() -> None:
    token, text = new()
    caller = authenticator().caller(bearer(text), snapshot(token).records)
    assert caller is not None
    assert (caller.id, caller.name, caller.roles) == (token.id, "ci", {"developer"})
    assert list(tokens_in(snapshot(token))) == [token]


def test_the_root_needs_no_record() -> None:
    assert authenticator().caller([b"Bearer the-root"], {}) is ROOT
    assert authenticator().still(ROOT, Snapshot()) is ROOT


def test_nobody_else_is() -> None:
    token, text = new()
    other, other_text = new()
    records = snapshot(token, other).records
    mixed = f"nt_{token.id}_{other_text.split('_', 2)[2]}"
    last = "A" if text[-1] != "A" else "B"
    for wrong in (
        mixed, text[:-1], text + "A", text[:-1] + last, text.upper(), token.id, token.digest,
        f"nt_{token.id}_{token.digest[:43]}", f"nt_{token.id}_", "nt__", "",
    ):  # fmt: skip
        assert authenticator().caller(bearer(wrong), records) is None, wrong
    assert authenticator().caller(bearer(text), {}) is None
    assert authenticator().caller([], records) is None
    assert authenticator().caller([*bearer(text), *bearer(text)], records) is None
    assert authenticator().caller([f"Basic {text}".encode()], records) is None


def test_it_expires() -> None:
    token, text = new("2027-01-15T08:00:10Z")  # ten seconds after NOW
    records = snapshot(token).records
    assert authenticator(NOW + 9).caller(bearer(text), records) is not None
    caller = authenticator(NOW + 9).caller(bearer(text), records)
    assert caller is not None
    assert authenticator(NOW + 10).caller(bearer(text), records) is None
    assert authenticator(NOW + 10).still(caller, snapshot(token)) is None


def test_it_is_revoked_and_changed() -> None:
    token, text = new()
    caller = authenticator().caller(bearer(text), snapshot(token).records)
    assert caller is not None
    assert authenticator().still(caller, snapshot()) is None
    assert authenticator().still(caller, snapshot(token)) == caller


@pytest.mark.parametrize("value", [b"x", b"[]", b"{}", b"null", b'{"id": "0"}'])
def test_a_record_that_cannot_be_read_admits_nobody(value: bytes) -> None:
    token, text = new()
    broken = snapshot(token, value=value)
    assert authenticator().caller(bearer(text), broken.records) is None
    assert list(tokens_in(broken)) == []


def test_a_record_under_another_id_admits_nobody() -> None:
    token, text = new()
    other, _ = new()
    moved = {other.record: StoredRecord(token.encode(), 1)}
    claimed = text.replace(token.id, other.id)
    assert authenticator().caller(bearer(claimed), moved) is None


def test_a_role_of_the_future_is_left_out() -> None:
    token, text = new()
    value = token.encode().replace(b'"developer"', b'"developer","emperor"')
    caller = authenticator().caller(bearer(text), snapshot(token, value=value).records)
    assert caller is not None
    assert caller.roles == {"developer"}


def test_the_secret_is_kept_nowhere() -> None:
    token, text = new()
    secret = text.split("_", 2)[2]
    assert secret not in repr(token) + token.encode().decode() + repr(token.caller)
    assert token.digest not in repr(token) + str(token.shown())


def test_each_is_another() -> None:
    made = [new() for _ in range(50)]
    assert len({token.id for token, _ in made}) == len({text for _, text in made}) == 50
