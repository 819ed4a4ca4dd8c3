"""Envelope encryption: what opens, what does not, and what each failure says."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from control_plane.store import (
    Kek,
    KekError,
    Sealer,
    Tampered,
    WrongKek,
)

CONTEXT = "credentials/menu-key#secret"
KEK, OTHER = Kek(bytes(range(32))), Kek(bytes(range(1, 33)))


@pytest.mark.parametrize("plaintext", ["", "sk-1", "비밀 ключ 🔑", "x" * 100_000])
def test_what_is_sealed_opens_again_after_a_trip_through_json(plaintext: str) -> None:
    sealed = json.loads(json.dumps(Sealer(KEK).seal(plaintext, CONTEXT)))
    assert Sealer(Kek(KEK.key)).unseal(sealed, CONTEXT) == plaintext


def test_neither_the_plaintext_nor_a_key_is_in_the_envelope() -> None:
    envelope = json.dumps(Sealer(KEK).seal("canary-plaintext", CONTEXT))
    assert "canary" not in envelope
    assert base64.b64encode(KEK.key).decode() not in envelope


def test_two_seals_of_one_secret_share_nothing() -> None:
    sealer = Sealer(KEK)
    first, second = sealer.seal("same", CONTEXT), sealer.seal("same", CONTEXT)
    assert first["dataKey"] != second["dataKey"]
    assert first["ciphertext"] != second["ciphertext"]


def test_a_seal_does_not_open_in_another_place() -> None:
    sealed = Sealer(KEK).seal("s", CONTEXT)
    with pytest.raises(Tampered, match="credentials/other#secret"):
        Sealer(KEK).unseal(sealed, "credentials/other#secret")


@pytest.mark.parametrize("field", ["dataKey", "ciphertext"])
def test_every_changed_byte_is_noticed(field: str) -> None:
    sealed = Sealer(KEK).seal("s", CONTEXT)
    raw = base64.b64decode(sealed[field])
    for position in range(len(raw)):
        changed = bytes([*raw[:position], raw[position] ^ 1, *raw[position + 1 :]])
        with pytest.raises(Tampered):
            Sealer(KEK).unseal(sealed | {field: base64.b64encode(changed).decode()}, CONTEXT)


@pytest.mark.parametrize(
    "change",
    [
        {"ciphertext": ""},
        {"ciphertext": "AAAA"},
        {"ciphertext": "no base64 !"},
        {"ciphertext": None},
        {"dataKey": 7},
        {"version": 2},
        {"version": None},
    ],
)
def test_a_malformed_envelope_is_tampered(change: dict[str, Any]) -> None:
    with pytest.raises(Tampered):
        Sealer(KEK).unseal(Sealer(KEK).seal("s", CONTEXT) | change, CONTEXT)


def test_halves_of_two_envelopes_do_not_fit() -> None:
    sealer = Sealer(KEK)
    one, two = sealer.seal("1", CONTEXT), sealer.seal("2", CONTEXT)
    with pytest.raises(Tampered):
        sealer.unseal(one | {"ciphertext": two["ciphertext"]}, CONTEXT)


def test_a_wrong_kek_is_told_apart_and_both_are_named() -> None:
    sealed = Sealer(KEK).seal("s", CONTEXT)
    with pytest.raises(WrongKek) as caught:
        Sealer(OTHER).unseal(sealed, CONTEXT)
    assert KEK.id in str(caught.value)
    assert OTHER.id in str(caught.value)


def test_a_forged_kek_id_is_not_repeated_in_the_error() -> None:
    sealed = Sealer(KEK).seal("s", CONTEXT) | {"kek": "<script>alert(1)</script>"}
    with pytest.raises(WrongKek) as caught:
        Sealer(KEK).unseal(sealed, CONTEXT)
    assert "script" not in str(caught.value)


def test_after_a_rotation_old_seals_open_and_new_ones_use_the_new_kek() -> None:
    rotated = Sealer(OTHER, older=[KEK])
    assert rotated.unseal(Sealer(KEK).seal("old", CONTEXT), CONTEXT) == "old"
    assert rotated.seal("new", CONTEXT)["kek"] == OTHER.id == rotated.primary


def test_a_kek_shows_its_id_only() -> None:
    assert repr(KEK) == "Kek()"
    assert len(KEK.id) == 16
    assert KEK.id != OTHER.id


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_kek_has_32_bytes(size: int) -> None:
    with pytest.raises(KekError, match="openssl rand"):
        Kek(bytes(size))
