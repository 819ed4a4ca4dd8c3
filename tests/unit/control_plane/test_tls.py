"""The files of mTLS: what is wrong with them is said before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane._tls import TlsError, TlsFiles, read, server_credentials
from tests.support.machine_tls import Authority


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    found = Authority.make(tmp_path / "a").of("control-plane")
    return TlsFiles(found.cert, found.key, found.ca)


def test_files_that_fit_are_taken(files: TlsFiles) -> None:
    cert, key, ca = read(files)
    assert b"BEGIN CERTIFICATE" in cert
    assert b"BEGIN CERTIFICATE" in ca
    assert b"PRIVATE KEY" in key
    server_credentials(files)


@pytest.mark.parametrize("which", ["cert", "key", "ca"])
def test_a_file_that_is_missing_or_none_is_named(files: TlsFiles, which: str) -> None:
    path: Path = getattr(files, which)
    path.write_text("-----BEGIN CANARY-----")
    with pytest.raises(TlsError, match=path.name) as caught:
        read(files)
    assert "CANARY" not in str(caught.value)
    path.unlink()
    with pytest.raises(TlsError, match=f"cannot read .*{path.name}"):
        server_credentials(files)


def test_a_key_of_another_certificate_is_refused(files: TlsFiles, tmp_path: Path) -> None:
    other = Authority.make(tmp_path / "b").of("control-plane")
    with pytest.raises(TlsError, match="is not that of the certificate"):
        read(TlsFiles(files.cert, other.key, files.ca))
