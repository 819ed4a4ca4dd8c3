"""mTLS of the xDS port: the certificate that is shown, and the authority that a client needs.

xDS carries secrets, so whoever connects must show a certificate that the client authority has
signed; everybody else is refused in the handshake. Files are read again for each handshake after
they have changed: a certificate is renewed by replacing its files, without a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

log = logging.getLogger("naru.xds")


class TlsError(Exception):
    """The files cannot be used; the message says which and why, and holds nothing of a key."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate with its chain, its key, and the authority of the other side."""

    cert: Path
    key: Path
    ca: Path


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that want a certificate of every client; raises TlsError."""
    current = _Current(files)
    return grpc.dynamic_ssl_server_credentials(
        current.configuration(),
        current.newer,  # type: ignore[arg-type]  # None, which the stubs forget: no change
        require_client_authentication=True,
    )


def read(files: TlsFiles) -> tuple[bytes, bytes, bytes]:
    """Certificate, key and authority as PEM, checked to be such and to fit; raises TlsError."""
    cert, key, ca = (_content(path) for path in (files.cert, files.key, files.ca))
    try:
        leaf = x509.load_pem_x509_certificates(cert)[0]
    except ValueError as error:
        raise TlsError(f"{files.cert} holds no certificate in PEM") from error
    try:
        x509.load_pem_x509_certificates(ca)
    except ValueError as error:
        raise TlsError(f"{files.ca} holds no certificate in PEM") from error
    if _public_of(key, files.key) != _spki(leaf.public_key()):
        raise TlsError(f"the key in {files.key} is not that of the certificate in {files.cert}")
    return cert, key, ca


class _Current:
    """The configuration of the files as they are now; called from gRPC's own threads."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._seen: tuple[float, ...] = ()

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        self._seen = self._times()
        cert, key, ca = read(self._files)
        return grpc.ssl_server_certificate_configuration([(key, cert)], root_certificates=ca)

    def newer(self) -> grpc.ServerCertificateConfiguration | None:
        """A new configuration if the files have changed; a broken one is not taken."""
        if self._times() == self._seen:
            return None
        try:
            return self.configuration()
        except TlsError as error:
            log.error("the certificates of xDS stay as they were: %s", error)
            return None

    def _times(self) -> tuple[float, ...]:
        files = self._files
        return tuple(_modified(path) for path in (files.cert, files.key, files.ca))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"cannot read {path}: {error.strerror}") from error


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _public_of(key: bytes, path: Path) -> bytes:
    try:
        return _spki(load_pem_private_key(key, None).public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TlsError(f"{path} holds no key in PEM without a password") from None


def _spki(key: object) -> bytes:
    encode: Callable[[Encoding, PublicFormat], bytes] = key.public_bytes  # type: ignore[attr-defined]
    return encode(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
