"""A file that only its owner can read and nobody can change unseen: what a process knew last.

    label | naru-lkg | version, 1 | id of the key, 8 | nonce, 12 | AES-256-GCM of the rest | tag, 16

The tag covers all of the file and the owner's name, so a file that was cut, changed or taken from
another owner does not open. It is replaced in one step: a disk that is full leaves the old one. Not
here: what is inside, and when it is used.
Specification: NIST SP 800-38D; 96-bit random nonces, far fewer than 2^32 writes with one key.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from ext_proc.errors import SnapshotRefused

T = TypeVar("T")
C = TypeVar("C", contravariant=True)

log = logging.getLogger(__name__)

KEY_BYTES: Final = 32
PAUSE: Final = 0.5
"""Seconds from a change to its snapshot: many changes make one."""
_REST: Final = 20  # times as long as a write took: at most a twentieth of a core goes into writing
AGAIN: Final = 10.0
"""Seconds from a write that failed to the next try: the disk is full, or away."""
_MAGIC: Final = b"naru-lkg\x01"
_KEY_ID: Final = 8
_NONCE: Final = 12
_HEADER: Final = len(_MAGIC) + _KEY_ID + _NONCE


@dataclass(frozen=True, slots=True)
class SealedFile:
    """The file of one owner; it begins with `label`, for all to read. All methods block."""

    path: Path
    owner: str
    key: bytes = field(repr=False)
    label: bytes = b""

    def write(self, content: bytes) -> None:
        """Replace the file in one step.

        Raises:
            OSError: it cannot be written.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.path.with_name(f"{self._prefix}{os.getpid()}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._seal(content))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def clear(self) -> None:
        """Remove what processes of this owner left behind that were killed while they wrote.

        One that is alive, and draining beside this one, keeps its own.
        """
        with contextlib.suppress(OSError):
            for path in self.path.parent.iterdir():
                pid = path.name.removeprefix(self._prefix)
                if path.name.startswith(self._prefix) and pid.isdecimal() and not _runs(int(pid)):
                    path.unlink(missing_ok=True)

    @property
    def _prefix(self) -> str:
        """Of the names of files that are being written; a pid follows."""
        return f".{self.path.name}."

    def read(self) -> bytes | None:
        """What was written last; nothing if nothing was.

        Raises:
            SnapshotRefused: the file cannot be used.
        """
        try:
            return self._unseal(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SnapshotRefused(f"it cannot be read: {error.strerror}") from error

    def _seal(self, content: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 30 ms, seldom needed

        nonce = os.urandom(_NONCE)
        header = self.label + _MAGIC + _key_id(self.key) + nonce
        return header + AESGCM(self.key).encrypt(nonce, content, header + self.owner.encode())

    def _unseal(self, data: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        header, known = data[: len(self.label) + _HEADER], self.label + _MAGIC
        if not header.startswith(known):
            raise SnapshotRefused("it has no known format")
        if header[len(known) : len(known) + _KEY_ID] != _key_id(self.key):
            raise SnapshotRefused("it was sealed with another key")
        try:
            context = header + self.owner.encode()
            return AESGCM(self.key).decrypt(header[-_NONCE:], data[len(header) :], context)
        except (InvalidTag, ValueError):
            raise SnapshotRefused("it is damaged, or another's") from None


class Writes(Protocol[C]):
    """What a keeper needs of a file; both methods block."""

    @property
    def path(self) -> Path: ...

    def write(self, content: C, /) -> None: ...

    def clear(self) -> None: ...


class Keeper(Generic[T]):
    """Writes what `known` gives, apart from all other work: in a thread, seldom."""

    def __init__(self, snapshot: Writes[T], known: Callable[[], T]) -> None:
        self._snapshot = snapshot
        self._known = known
        self._changed = asyncio.Event()
        self.trouble: str | None = None
        """Why the newest could not be written; `None` once it was."""
        self._writing = threading.Lock()  # a write goes on in its thread if `run` is cancelled

    def changed(self) -> None:
        """There is something new to write."""
        self._changed.set()

    async def run(self) -> None:
        """Write whenever something has changed, until cancelled."""
        await asyncio.to_thread(self._snapshot.clear)
        while True:
            await self._changed.wait()
            await asyncio.sleep(PAUSE)
            began = time.monotonic()
            written = await self.flush()
            await asyncio.sleep(_REST * (time.monotonic() - began) if written else AGAIN)

    async def flush(self) -> bool:
        """Write now what has not been written yet; whether nothing of it is left."""
        if not self._changed.is_set():
            return True
        self._changed.clear()
        try:
            await asyncio.to_thread(self._write, self._known())
        except Exception as error:  # a keeper that died would be a silent one
            self._failed(error)
            return False
        self.trouble = None
        return True

    def _failed(self, error: Exception) -> None:
        why, ours = getattr(error, "strerror", None), not isinstance(error, OSError)
        self.trouble = why or f"it fails with {type(error).__name__}: see the log"
        log.warning("no snapshot in %s: %s", self._snapshot.path, self.trouble, exc_info=ours)
        self._changed.set()

    def _write(self, known: T) -> None:
        with self._writing:
            self._snapshot.write(known)


def read_key(path: Path) -> bytes:
    """The key in a file: 32 bytes in base64, and nobody else's business.

    Raises:
        SnapshotRefused: there is no such key.
    """
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read(1024)
        key = base64.b64decode(content.strip(), validate=True)
    except OSError as error:
        raise SnapshotRefused(f"its key cannot be read: {path}: {error.strerror}") from error
    except binascii.Error:
        raise SnapshotRefused(f"its key is not base64: {path}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise SnapshotRefused(f"others may use its key: run `chmod 600 {path}`")
    if len(key) != KEY_BYTES:
        raise SnapshotRefused(f"its key has not {KEY_BYTES} bytes: {path}")
    return key


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return pid != os.getpid()  # in a container it may be the same one each time


def _key_id(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=_KEY_ID, person=b"naru-lkg-key").digest()
