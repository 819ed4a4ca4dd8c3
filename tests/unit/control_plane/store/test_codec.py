"""What lies in etcd, and what is refused when it comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from control_plane.resources import Key
from control_plane.store import Codec, Kek, Sealer, SealError, StoreError, Undecodable, WrongKek
from tests.support.documents import KEY_A, KEY_B, credential, secret_of, upstream

CODEC = Codec(Sealer(Kek(bytes(32))))


def stored(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(CODEC.encode(credential("a")))
    return document | changes


def test_a_resource_with_and_without_a_secret_comes_back_equal() -> None:
    for resource in (credential("a"), credential("a", secret=None), upstream("u", "a")):
        back = CODEC.decode(resource.key, CODEC.encode(resource))
        assert back == resource
        assert back.to_document(reveal=True) == resource.to_document(reveal=True)


def test_the_secret_is_sealed_in_place_and_the_rest_is_readable() -> None:
    raw = CODEC.encode(credential("a", "canary", allowedHosts=["api.openai.com"]))
    document = json.loads(raw)
    assert b"canary" not in raw
    assert document["spec"]["allowedHosts"] == ["api.openai.com"]
    assert document["spec"]["secret"].keys() == {"sealed"}
    assert "revision" not in document["metadata"]


def test_a_sealed_secret_does_not_open_under_another_name() -> None:
    document = stored(metadata={"name": "b"})
    with pytest.raises(SealError, match="credentials/b"):
        CODEC.decode(KEY_B, json.dumps(document).encode())


def test_a_document_under_a_key_that_is_not_its_own_is_refused() -> None:
    raw = CODEC.encode(credential("a", secret=None))
    with pytest.raises(Undecodable, match="another kind or name"):
        CODEC.decode(KEY_B, raw)
    with pytest.raises(Undecodable, match="another kind or name"):
        CODEC.decode(Key("upstreams", "a"), raw)


@pytest.mark.parametrize("clear", ["canary", {"sealed": "canary"}, {"x": "canary"}, ["canary"]])
def test_a_secret_in_the_clear_is_refused_and_not_repeated(clear: object) -> None:
    document = stored(spec={"type": "bearer", "secret": clear})
    with pytest.raises(Undecodable, match="not sealed") as caught:
        CODEC.decode(KEY_A, json.dumps(document).encode())
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"canary"',
        b"{",
        b"{}",
        b'{"kind": "canary"}',
        b"[" * 5000,
    ],
)
def test_what_is_no_resource_is_refused_without_its_content(raw: bytes) -> None:
    with pytest.raises(Undecodable, match="credentials/a") as caught:
        CODEC.decode(KEY_A, raw)
    assert "canary" not in str(caught.value)


def test_an_invalid_field_is_named_and_its_value_is_not() -> None:
    document = stored(spec={"type": "bearer", "header": "canary", "allowedHosts": 7})
    with pytest.raises(Undecodable, match=r"spec\.allowedHosts") as caught:
        CODEC.decode(KEY_A, json.dumps(document).encode())
    assert "canary" not in str(caught.value)


def test_another_kek_is_told_apart() -> None:
    with pytest.raises(WrongKek):
        Codec(Sealer(Kek(bytes([1] * 32)))).decode(KEY_A, CODEC.encode(credential("a")))


def test_a_decoded_secret_is_the_one_that_was_given() -> None:
    assert secret_of(CODEC.decode(KEY_A, CODEC.encode(credential("a", "s3cret")))) == "s3cret"


def test_every_failure_is_a_store_error_with_a_code() -> None:
    for raw in (b"", json.dumps(stored(spec=7)).encode()):
        with pytest.raises(StoreError) as caught:
            CODEC.decode(KEY_A, raw)
        assert caught.value.code == "undecodable"
