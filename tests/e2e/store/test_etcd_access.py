"""etcd that speaks TLS, wants a certificate, and has users: real, with every way to get it wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.store import EtcdAccess, Policy, Sealer, Store, StoreUnavailable
from tests.support.documents import credential
from tests.support.etcd import EtcdProcess
from tests.support.machine_tls import Authority
from tests.support.stores import KEK, put, secrets_in, until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("ours") / "a")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("others") / "a")


@pytest.fixture
def etcd(tmp_path: Path, ours: Authority) -> Iterator[EtcdProcess]:
    """With TLS, client certificates and users: `naru` may use its prefix, `weak` only read it."""
    with EtcdProcess(tmp_path / "etcd", tls=ours.of("etcd")) as etcd:
        for command in (
            "user add root:root-password",
            "user grant-role root root",
            "role add naru",
            "role grant-permission naru --prefix=true readwrite /naru/",
            "user add naru:right",
            "user grant-role naru naru",
            "role add weak",
            "role grant-permission weak --prefix=true read /naru/",
            "user add weak:right",
            "user grant-role weak weak",
            "auth enable",
        ):
            etcd.ctl(*command.split())
        etcd.user = "root:root-password"
        yield etcd


@pytest.fixture
def access(ours: Authority, tmp_path: Path) -> EtcdAccess:
    """The right one."""
    files, password = ours.of("control-plane"), tmp_path / "password"
    password.write_text("right\n")
    return EtcdAccess(True, files.ca, files.cert, files.key, "naru", password)


def store(etcd: EtcdProcess, access: EtcdAccess, policy: Policy | None = None) -> Store:
    return Store([f"https://{etcd.endpoint}"], Sealer(KEK), access=access, policy=policy)


async def trouble_of(etcd: EtcdProcess, access: EtcdAccess, words: str) -> str:
    """What the store says of itself, once it says something of that kind."""
    async with store(etcd, access) as opened:
        await until(lambda: words in (opened.reflector.trouble or ""))
        with pytest.raises(StoreUnavailable):
            await opened.reflector.wait_for(0, 0.1)
        return opened.reflector.trouble or ""


async def test_reads_writes_and_follows(etcd: EtcdProcess, access: EtcdAccess) -> None:
    async with store(etcd, access) as one, store(etcd, access) as two:
        await put(one, credential("a", "first"))
        await until(lambda: secrets_in(two.snapshot) == {"a": "first"})


async def test_a_token_that_etcd_has_forgotten_is_renewed(
    etcd: EtcdProcess, access: EtcdAccess
) -> None:
    """etcd keeps its tokens in memory: a restart takes all of them away."""
    async with store(etcd, access) as one:
        await put(one, credential("a", "first"))
        await asyncio.to_thread(etcd.restart)
        await until(lambda: one.reflector.connected)
        await put(one, credential("a", "second"))
        assert secrets_in(one.snapshot) == {"a": "second"}
        await asyncio.to_thread(etcd.ctl, "user", "add", "new:x")  # every token is older than that
        await put(one, credential("a", "third"))
        assert secrets_in(one.snapshot) == {"a": "third"}


async def test_a_changed_password_is_read_again(etcd: EtcdProcess, access: EtcdAccess) -> None:
    assert access.password_file is not None
    async with store(etcd, access) as one:
        await put(one, credential("a", "first"))
        await asyncio.to_thread(etcd.ctl, "user", "passwd", "naru", stdin="new\nnew\n")
        access.password_file.write_text("new")
        await asyncio.to_thread(etcd.restart)
        await until(lambda: one.reflector.connected)
        await put(one, credential("a", "second"))


async def test_a_wrong_password_names_the_setting(
    etcd: EtcdProcess, access: EtcdAccess, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("guessed-password")
    said = await trouble_of(etcd, replace(access, password_file=wrong), "NARU_ETCD_PASSWORD_FILE")
    assert "guessed-password" not in said


async def test_no_user_names_the_setting(etcd: EtcdProcess, access: EtcdAccess) -> None:
    await trouble_of(etcd, replace(access, user=None, password_file=None), "NARU_ETCD_USER")


async def test_a_user_without_rights_is_told(etcd: EtcdProcess, access: EtcdAccess) -> None:
    async with store(etcd, replace(access, user="weak")) as weak:
        await weak.reflector.wait_for(0, 10)
        with pytest.raises(StoreUnavailable, match=r"permission denied.*NARU_ETCD_USER"):
            await put(weak, credential("a", "first"))


async def test_the_role_of_the_documents_is_enough_to_look_after_etcd(
    etcd: EtcdProcess, access: EtcdAccess
) -> None:
    forgetful = Policy(keep_seconds=0, keep_revisions=1)
    async with store(etcd, access, forgetful) as one:
        for number in range(5):
            await put(one, credential("a", str(number)))
        await one.maintenance.look()
        assert one.maintenance.space is not None
        assert one.maintenance.problems == ()
        with pytest.raises(AssertionError, match="compacted"):
            etcd.ctl("get", "x", "--rev=3")


async def test_defragmentation_wants_root_and_the_rest_goes_on_without(
    etcd: EtcdProcess, access: EtcdAccess, caplog: pytest.LogCaptureFixture
) -> None:
    async with store(etcd, access, Policy(quota=1)) as one:  # so small that it is always due
        await put(one, credential("a"))
        await one.maintenance.look()
        await one.maintenance.look()
        (problem,) = one.maintenance.problems
        assert "permission denied" in problem
        assert "only the role root" in problem
        assert caplog.text.count("cannot be made smaller") == 1
        etcd.ctl("user", "grant-role", "naru", "root")
        await one.maintenance.look()
        assert one.maintenance.problems == ()


async def test_a_user_who_may_not_look_after_etcd_is_told(
    etcd: EtcdProcess, access: EtcdAccess
) -> None:
    """It may read what the limits are found out with, but not take the lock."""
    async with store(etcd, replace(access, user="weak")) as weak:
        running = asyncio.create_task(weak.maintenance.run())
        try:
            await until(lambda: weak.maintenance.problems != ())
        finally:
            running.cancel()
            await asyncio.wait({running})
        assert "cannot be looked after" in weak.maintenance.problems[0]
        assert "NARU_ETCD_USER" in weak.maintenance.problems[0]


async def test_a_wrong_authority_names_the_setting(
    etcd: EtcdProcess, access: EtcdAccess, others: Authority
) -> None:
    await trouble_of(etcd, replace(access, ca=others.ca), "NARU_ETCD_CA")


async def test_a_wrong_or_missing_certificate_names_the_setting(
    etcd: EtcdProcess, access: EtcdAccess, others: Authority
) -> None:
    files = others.of("control-plane")
    await trouble_of(etcd, replace(access, cert=files.cert, key=files.key), "NARU_ETCD_CERT")
    await trouble_of(etcd, replace(access, cert=None, key=None), "NARU_ETCD_CERT")


async def test_plain_text_to_tls_is_told(etcd: EtcdProcess) -> None:
    await trouble_of(etcd, EtcdAccess(), "https://")


async def test_a_file_that_is_missing_is_named(
    etcd: EtcdProcess, access: EtcdAccess, tmp_path: Path
) -> None:
    await trouble_of(etcd, replace(access, ca=tmp_path / "none"), "NARU_ETCD_CA")
    await trouble_of(
        etcd, replace(access, password_file=tmp_path / "none"), "NARU_ETCD_PASSWORD_FILE"
    )


async def test_an_expired_certificate_is_replaced_without_a_restart(
    etcd: EtcdProcess, access: EtcdAccess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New files are used by the next connection."""
    old = Authority.make(tmp_path / "old")
    files = old.of("control-plane")
    theirs, broken = access, replace(access, cert=files.cert, key=files.key)
    assert theirs.cert is not None
    assert theirs.key is not None
    async with store(etcd, broken) as one:
        await until(lambda: "NARU_ETCD_CERT" in (one.reflector.trouble or ""))
        files.key.write_bytes(theirs.key.read_bytes())
        files.cert.write_bytes(theirs.cert.read_bytes())
        await until(lambda: one.reflector.connected)
