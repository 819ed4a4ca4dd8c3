"""Envelope encryption of secrets: what etcd, its disk and its backups get to see.

Every secret has a data key of its own (AES-256-GCM); the data key is wrapped by the key-encryption
key (KEK, AES-256-GCM too), which never leaves this process. Both layers authenticate the *context*
(where the secret belongs, such as `credentials/menu-key#secret`), so a sealed value that is copied
to another place does not open there. The envelope records the id of its KEK, so that rotation can
keep older KEKs for reading, and a wrong one is told apart from a damaged value.

Not here: how a KEK reaches the process by other ways than a file or a string.
Specification: NIST SP 800-38D; 96-bit random nonces, one encryption per data key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from control_plane.store.errors import KekError, Tampered, WrongKek

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
VERSION = 1


@dataclass(frozen=True, slots=True)
class Kek:
    """A key-encryption key of 32 bytes. Its `id` says which one it is and tells nothing of it."""

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES:
            raise KekError(
                f"the key-encryption key has {len(self.key)} bytes, not {KEY_BYTES}: "
                "make one with `openssl rand -base64 32`"
            )

    @property
    def id(self) -> str:
        """16 hexadecimal digits."""
        return hashlib.blake2b(self.key, digest_size=8, person=b"naru-kek-id").hexdigest()

    def wrap(self, data_key: bytes, context: str) -> bytes:
        return _encrypt(self.key, data_key, self._aad(context))

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        return _decrypt(self.key, wrapped, self._aad(context))

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for another purpose than secrets, the same for the same KEK.

        What is sealed with it must record this KEK's `id`, so that it opens after a rotation, too.
        """
        info = f"naru/{purpose}/{self.id}".encode()
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(self.key)

    def _aad(self, context: str) -> bytes:
        return f"naru/data-key/{VERSION}/{self.id}/{context}".encode()


def kek_from_base64(text: str, source: str = "NARU_KEK") -> Kek:
    """The KEK in `text`: base64, ordinary or URL-safe. `source` names it in errors."""
    compact = "".join(text.split()).replace("-", "+").replace("_", "/")
    try:
        key = base64.b64decode(compact, validate=True)
    except binascii.Error:
        raise KekError(f"{source} is not base64: make one with `openssl rand -base64 32`") from None
    return Kek(key)


def kek_from_file(path: Path) -> Kek:
    """The KEK in a file (base64). Refuses a file that the group or others may use."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            _check_mode(path, mode)
            content = file.read(4096)
    except OSError as error:
        raise KekError(
            f"cannot read the key-encryption key {path}: {error.strerror}; "
            "set NARU_KEK_FILE to a file of mode 0600, or NARU_KEK to the key in base64"
        ) from error
    return kek_from_base64(content.decode("ascii", "replace"), source=str(path))


class Sealer:
    """Seals with one KEK, unseals with that one and the older ones it is given."""

    def __init__(self, kek: Kek, older: Sequence[Kek] = ()) -> None:
        self._kek = kek
        self._keks: Mapping[str, Kek] = {each.id: each for each in (*older, kek)}

    def derive(self, purpose: str, kek_id: str | None = None) -> tuple[str, bytes]:
        """A key for another purpose, and the id of the KEK that it comes from: the one that seals,
        or the one that is asked for. Raises `KekError` if that is not here."""
        kek = self._keks.get(kek_id or self._kek.id)
        if kek is None:
            raise KekError(f"this process has {', '.join(self._keks)}, not {_printable(kek_id)}")
        return kek.id, kek.derive(purpose)

    @property
    def kek_id(self) -> str:
        """The id of the KEK that new secrets are sealed with."""
        return self._kek.id

    def seal(self, plaintext: str, context: str) -> dict[str, Any]:
        """The envelope of `plaintext`, JSON-ready; it opens only with the same `context`."""
        data_key = secrets.token_bytes(KEY_BYTES)
        return {
            "version": VERSION,
            "kek": self._kek.id,
            "dataKey": _text(self._kek.wrap(data_key, context)),
            "ciphertext": _text(_encrypt(data_key, plaintext.encode(), _secret_aad(context))),
        }

    def unseal(self, sealed: Mapping[str, Any], context: str) -> str:
        """The plaintext. Raises `WrongKek`, or `Tampered` if anything was changed or moved."""
        kek = self._kek_of(sealed, context)
        try:
            data_key = kek.unwrap(_raw(sealed.get("dataKey")), context)
            ciphertext = _raw(sealed.get("ciphertext"))
            return _decrypt(data_key, ciphertext, _secret_aad(context)).decode()
        except (InvalidTag, ValueError):
            raise Tampered(
                f"the sealed value of {context} is damaged or was moved here from another place: "
                "set the secret again"
            ) from None

    def _kek_of(self, sealed: Mapping[str, Any], context: str) -> Kek:
        if sealed.get("version") != VERSION:
            raise Tampered(f"the sealed value of {context} has no known format: set it again")
        kek = self._keks.get(str(sealed.get("kek")))
        if kek is None:
            raise WrongKek(
                f"the secret of {context} was sealed with another key-encryption key "
                f"({_printable(sealed.get('kek'))}; this process has {', '.join(self._keks)}): "
                "start it with the key that was in use then, or set the secret again"
            )
        return kek


def _check_mode(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise KekError(f"the key-encryption key {path} is not a regular file")
    if mode & 0o077:
        raise KekError(
            f"the key-encryption key {path} has mode {stat.S_IMODE(mode):04o}, so others may use "
            f"it: run `chmod 600 {path}`; if they did read it, change the secrets as well"
        )


def _encrypt(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, aad)


def _decrypt(key: bytes, data: bytes, aad: bytes) -> bytes:
    if len(data) < NONCE_BYTES + TAG_BYTES:
        raise ValueError("shorter than a nonce and a tag")
    return AESGCM(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], aad)


def _secret_aad(context: str) -> bytes:
    return f"naru/secret/{VERSION}/{context}".encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _raw(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("not base64 text")
    return base64.b64decode(value, validate=True)


def _printable(kek_id: object) -> str:
    """An id out of a document that may be forged: shown only when it looks like one."""
    text = str(kek_id)
    return text if len(text) == 16 and text.isalnum() and text.isascii() else "unknown"
