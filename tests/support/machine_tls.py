"""Certificates of an authority of the test's own; `openssl` is not needed."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import pytest

from naru.up import tls
from naru.up.tls import Files, TlsDir


@dataclass(frozen=True)
class Authority:
    """One authority, and a certificate for each part of the product."""

    directory: TlsDir

    @classmethod
    def make(cls, path: Path, *hosts: str) -> Authority:
        path.mkdir(parents=True)
        directory = TlsDir(path / "tls", hosts or ("localhost", "127.0.0.1"))
        directory.prepare()
        return cls(directory)

    def of(self, part: str) -> Files:
        return self.directory.of(part)

    @property
    def ca(self) -> Path:
        return self.directory.path / "ca.crt"

    def xds_environment(self) -> dict[str, str]:
        """For the control plane."""
        files = self.of("control-plane")
        return {
            "NARU_XDS_TLS_CERT": str(files.cert),
            "NARU_XDS_TLS_KEY": str(files.key),
            "NARU_XDS_TLS_CLIENT_CA": str(files.ca),
        }

    def expire(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make every certificate one of the day before yesterday."""
        past = datetime.datetime.now(datetime.UTC) - tls.LIFETIME - datetime.timedelta(days=2)
        with monkeypatch.context() as patched:
            patched.setattr(tls, "_now", lambda: past)
            self.directory.prepare()
