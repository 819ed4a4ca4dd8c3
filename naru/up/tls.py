"""The certificates of one machine: an authority of its own, and a short-lived one for each part.

<data-dir>/tls/       0700
├── ca.crt ca.key     the authority, made once and kept; nobody but this directory trusts it
└── NAME.crt NAME.key for each part, 0600; made anew at each start, and before two thirds are over

A part's files are replaced by renaming, certificate last: Envoy watches for that, the others read
them again at the next handshake.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from naru.up.errors import MissingPart, UnusableData
from naru.up.files import write_atomically

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

LIFETIME: Final = datetime.timedelta(days=30)
CA_LIFETIME: Final = datetime.timedelta(days=3650)
_SKEW: Final = datetime.timedelta(minutes=5)
_LOOK: Final = 3600.0
PARTS: Final = ("control-plane", "envoy", "ext-proc", "etcd")
SUFFIX: Final = "naru.internal"
"""Every certificate is for NAME.naru.internal, too: etcd knows the control plane by it."""


@dataclass(frozen=True, slots=True)
class Files:
    """What one part is given."""

    cert: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class TlsDir:
    """The directory; `hosts` are names and addresses by which the parts that listen are reached."""

    path: Path
    hosts: tuple[str, ...]

    def of(self, part: str) -> Files:
        return Files(self.path / f"{part}.crt", self.path / f"{part}.key", self.path / "ca.crt")

    def prepare(self) -> None:
        """Make what is missing, and every part's certificate anew.

        Raises:
            UpError: the directory cannot be used, or a package is missing.
        """
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            self.path.chmod(0o700)
            authority = self._authority()
            for part in PARTS:
                self._issue(authority, part)
        except OSError as error:
            raise UnusableData(f"Cannot make certificates in {self.path}: {error}.") from error
        except ModuleNotFoundError as error:
            raise MissingPart("--tls needs the package 'cryptography'.") from error

    async def keep_fresh(self, say: Callable[[str], None], look: float = _LOOK) -> None:
        """Renew the certificates before they end, until cancelled."""
        while True:
            await asyncio.sleep(look)
            if self.is_due():
                self.prepare()
                say("certificates renewed")

    def is_due(self) -> bool:
        """Whether two thirds of the certificates' time are over."""
        from cryptography import x509

        found = x509.load_pem_x509_certificate(self.of(PARTS[0]).cert.read_bytes())
        return _now() > found.not_valid_before_utc + LIFETIME * 2 / 3

    def _authority(self) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        cert, key = self.path / "ca.crt", self.path / "ca.key"
        if not (cert.exists() and key.exists()):
            self._make_authority(cert, key)
        if key.stat().st_mode & 0o077:
            raise UnusableData(f"{key} can be read by others. Run: chmod 600 {key}")
        try:
            loaded = serialization.load_pem_private_key(key.read_bytes(), None)
            found = x509.load_pem_x509_certificate(cert.read_bytes())
        except ValueError as error:
            raise UnusableData(f"{cert} or {key} is broken: restore it, or delete both.") from error
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        return found, loaded

    def _make_authority(self, cert: Path, key: Path) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec

        private = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"Naru {secrets.token_hex(4)}")  # two data directories are two authorities
        built = _builder(name, name, private, CA_LIFETIME).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        built = built.add_extension(_usage(signs=True), critical=True)
        _write(key, private, cert, _signed(built, private))

    def _issue(
        self, authority: tuple[x509.Certificate, EllipticCurvePrivateKey], part: str
    ) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        issuer, signer = authority
        private = ec.generate_private_key(ec.SECP256R1())
        listens = part in ("control-plane", "etcd")
        names = [f"{part}.{SUFFIX}", *(self.hosts if listens else ())]
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if listens:
            uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        built = (
            _builder(_name(part), issuer.subject, private, LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
        )
        files = self.of(part)
        _write(files.key, private, files.cert, _signed(built, signer))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    private: EllipticCurvePrivateKey,
    lifetime: datetime.timedelta,
) -> x509.CertificateBuilder:
    from cryptography import x509

    public = private.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _SKEW)
        .not_valid_after(_now() + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _signed(builder: x509.CertificateBuilder, private: EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography.hazmat.primitives.hashes import SHA256

    return builder.sign(private, SHA256())


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(names: Iterable[str]) -> list[x509.GeneralName]:
    from cryptography import x509

    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _name(common: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _write(
    key_path: Path, private: EllipticCurvePrivateKey, cert_path: Path, cert: x509.Certificate
) -> None:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    write_atomically(
        key_path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    write_atomically(cert_path, cert.public_bytes(Encoding.PEM))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
