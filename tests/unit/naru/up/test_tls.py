"""The certificates of one machine."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509

from naru.up import tls
from naru.up.errors import UpError
from naru.up.tls import PARTS, TlsDir


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.fixture
def directory(tmp_path: Path) -> TlsDir:
    made = TlsDir(tmp_path / "tls", ("localhost", "127.0.0.1"))
    made.prepare()
    return made


def test_nobody_else_can_read_anything(directory: TlsDir) -> None:
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    for path in directory.path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_authority_is_kept_and_the_parts_are_renewed(directory: TlsDir) -> None:
    ca = (directory.path / "ca.crt").read_bytes()
    serials = [certificate(directory.of(part).cert).serial_number for part in PARTS]
    directory.prepare()
    assert (directory.path / "ca.crt").read_bytes() == ca
    again = [certificate(directory.of(part).cert).serial_number for part in PARTS]
    assert not set(serials) & set(again)
    for part in PARTS:
        certificate(directory.of(part).cert).verify_directly_issued_by(
            certificate(directory.of(part).ca)
        )


def test_only_who_listens_may_be_a_server(directory: TlsDir) -> None:
    server = x509.oid.ExtendedKeyUsageOID.SERVER_AUTH
    for part in PARTS:
        uses = certificate(directory.of(part).cert).extensions.get_extension_for_class(
            x509.ExtendedKeyUsage
        )
        assert (server in uses.value) == (part in ("control-plane", "etcd"))


def test_two_directories_do_not_trust_each_other(directory: TlsDir, tmp_path: Path) -> None:
    other = TlsDir(tmp_path / "other", ())
    other.prepare()
    with pytest.raises(ValueError, match="Issuer"):
        certificate(other.of("envoy").cert).verify_directly_issued_by(
            certificate(directory.path / "ca.crt")
        )


def test_it_is_due_after_two_thirds_of_the_time(
    directory: TlsDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not directory.is_due()
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=21)
    monkeypatch.setattr(tls, "_now", lambda: later)
    assert directory.is_due()


def test_a_key_that_others_can_read_is_refused(directory: TlsDir) -> None:
    (directory.path / "ca.key").chmod(0o644)
    with pytest.raises(UpError, match="chmod 600"):
        directory.prepare()


def test_a_broken_authority_says_what_to_do(directory: TlsDir) -> None:
    (directory.path / "ca.key").write_text("broken")
    with pytest.raises(UpError, match="restore it, or delete both"):
        directory.prepare()
