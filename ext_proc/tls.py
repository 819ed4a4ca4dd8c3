"""mTLS towards the control plane: the worker's own certificate, and the authority of the other.

The files are read for each connection, so a renewed certificate is used by the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import grpc.aio

_HINTS: Final = (
    ("certificate has expired", "its certificate has expired"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not signed by the CA given here"),
    ("Hostname Verification", "its certificate is for another name"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS"),
    ("_ALERT_", "it does not take the certificate here, or wants one"),
    ("Socket closed", "it hangs up: does it know the CA of the certificate here?"),
)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate with its chain, its key, and the authority of the control plane.

    `name` is what the control plane's certificate is for, if not the host in its address.
    """

    cert: Path
    key: Path
    ca: Path
    name: str | None = None

    @classmethod
    def read(cls, given: Mapping[str, str] | None) -> TlsFiles | None:
        """Out of JSON."""
        if not given:
            return None
        cert, key, ca = (Path(given[name]) for name in ("cert", "key", "ca"))
        return cls(cert, key, ca, given.get("name"))

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises OSError if a file cannot be read."""
        return grpc.ssl_channel_credentials(
            self.ca.read_bytes(), self.key.read_bytes(), self.cert.read_bytes()
        )

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """Options of the channel."""
        return (("grpc.ssl_target_name_override", self.name),) if self.name else ()


def channel(
    address: str, options: tuple[tuple[str, object], ...], tls: TlsFiles | None
) -> grpc.aio.Channel:
    """A channel to `address`; raises OSError if a file cannot be read."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, tls.credentials(), options=(*options, *tls.options))


def why(details: str) -> str:
    """What gRPC's words on a failed handshake mean, in ours; empty if they speak of none."""
    return next((f" (TLS: {said})" for word, said in _HINTS if word in details), "")
