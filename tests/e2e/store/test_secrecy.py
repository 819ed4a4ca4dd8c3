"""What etcd's disk gets to see, and what a wrong key or a changed byte does."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest

from control_plane.store import Kek, Store
from tests.support.documents import KEY_A, credential, upstream
from tests.support.etcd import EtcdProcess
from tests.support.stores import put, running, secrets_in, until

pytestmark = pytest.mark.anyio
CANARY = "canary-4f1d9c-secret"
VISIBLE = "visible-upstream"


async def test_no_secret_is_in_etcds_files(own_etcd: EtcdProcess) -> None:
    async with running(own_etcd.endpoint) as store:
        await put(store, credential("a", CANARY), upstream(VISIBLE, "a"))
        await put(store, credential("a", CANARY, allowedHosts=["127.0.0.1"]))
        assert secrets_in(store.snapshot) == {"a": CANARY}
    own_etcd.stop()
    assert files_with(own_etcd.data_dir, VISIBLE.encode()), "the search finds nothing at all"
    for form in spellings(CANARY):
        assert files_with(own_etcd.directory, form) == []


async def test_a_wrong_kek_is_told_and_the_rest_is_served(
    store: Store, shared_etcd: EtcdProcess, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    await put(store, credential("a", CANARY), credential("open", secret=None))
    wrong = Kek(bytes([9] * 32))
    async with running(shared_etcd.endpoint, prefix=prefix, kek=wrong) as fresh:
        assert secrets_in_names(fresh) == {"open"}
        problem = fresh.reflector.problems["credentials/a"]
        assert problem.code == "wrong_kek"
        assert "another key-encryption key" in problem.message
        assert wrong.id in problem.message
        assert "another key-encryption key" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize("field", ["ciphertext", "dataKey"])
async def test_a_tampered_secret_is_kept_out_until_it_is_set_again(
    store: Store, shared_etcd: EtcdProcess, prefix: str, field: str
) -> None:
    await put(store, credential("a", CANARY), credential("b", "other"))
    raw_key = f"{prefix}/resources/credentials/a"

    def tamper() -> None:
        document = json.loads(shared_etcd.ctl("get", raw_key, "--print-value-only"))
        sealed = document["spec"]["secret"]["sealed"]
        raw = bytearray(base64.b64decode(sealed[field]))
        raw[-1] ^= 1
        sealed[field] = base64.b64encode(raw).decode()
        shared_etcd.ctl("put", raw_key, json.dumps(document))

    await asyncio.to_thread(tamper)
    await store.reflector.wait_until(lambda snapshot: KEY_A not in snapshot.stored, 5)
    assert store.reflector.problems["credentials/a"].code == "tampered"
    assert secrets_in(store.snapshot) == {"b": "other"}
    await put(store, credential("a", "new"))
    assert secrets_in(store.snapshot) == {"a": "new", "b": "other"}


async def test_a_sealed_secret_that_is_copied_elsewhere_does_not_open(
    store: Store, shared_etcd: EtcdProcess, prefix: str
) -> None:
    await put(store, credential("b", CANARY))

    def copy() -> None:
        raw = shared_etcd.ctl("get", f"{prefix}/resources/credentials/b", "--print-value-only")
        document = json.loads(raw)
        document["metadata"]["name"] = "a"
        shared_etcd.ctl("put", f"{prefix}/resources/credentials/a", json.dumps(document))

    await asyncio.to_thread(copy)
    await until(lambda: "credentials/a" in store.reflector.problems)
    assert store.reflector.problems["credentials/a"].code == "tampered"
    assert KEY_A not in store.snapshot.stored


def secrets_in_names(store: Store) -> set[str]:
    return {key.name for key in store.snapshot.stored}


def files_with(directory: Path, needle: bytes) -> list[Path]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [path for path in files if needle in path.read_bytes()]


def spellings(secret: str) -> list[bytes]:
    """The secret as it is, and the inner part of its base64 at each of the three alignments."""
    raw = secret.encode()
    encoded = [base64.b64encode(b"\0" * shift + raw)[4:-4] for shift in range(3)]
    return [raw, raw.hex().encode(), *encoded]
