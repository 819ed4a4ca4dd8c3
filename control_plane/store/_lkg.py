"""What was in etcd last, on the control plane's own disk: it begins with that while etcd is away.

The records are kept as they lie in etcd, secrets in their envelopes, and the file is sealed once
more, with a key derived from the key-encryption key, whose id it begins with (`ext_proc/sealed.py`
has its format). So it tells nothing without that key, and nobody can put a document into it, or
bring one of another prefix here. An older file of the same one cannot be told apart; its revision
is shown.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import msgspec

from control_plane.store._records import Record
from control_plane.store.errors import KekError
from ext_proc.errors import SnapshotRefused
from ext_proc.sealed import SealedFile

_PURPOSE: Final = "control-plane.lkg"
_ID: Final = 16  # bytes of a key-encryption key's id


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """All records of the product, as one etcd had them at one revision; `saved` is Unix time."""

    cluster: int
    revision: int
    saved: float
    records: list[tuple[bytes, bytes, int, int, int]]

    @classmethod
    def of(cls, cluster: int, revision: int, records: Sequence[Record]) -> Kept:
        fields = [(r.key, r.value, r.created, r.modified, r.version) for r in records]
        return cls(cluster, revision, time.time(), fields)

    def restored(self) -> list[Record]:
        return [Record(*each) for each in self.records]


class Derive(Protocol):
    """The id of a key-encryption key and a key derived from it: of the one that seals now, or of
    the one that is asked for. Raises `KekError` if that is not here."""

    def __call__(self, purpose: str, kek_id: str | None = None) -> tuple[str, bytes]: ...


@dataclass(frozen=True, slots=True)
class LastKnownGood:
    """The file. All methods block.

    `prefix` is where the records lie in etcd.
    """

    path: Path
    prefix: str
    derive: Derive

    def write(self, kept: Kept, /) -> None:
        """Replace the file in one step; raises OSError if it cannot be written."""
        try:
            derived = self.derive(_PURPOSE)
        except KekError as error:
            raise OSError(errno.ENOKEY, error.message) from error
        self._file(*derived).write(msgspec.msgpack.encode(kept))

    def read(self) -> Kept | None:
        """What was written last; nothing if nothing was.

        Raises:
            SnapshotRefused: the file cannot be used.
        """
        content = self._unsealed()
        try:
            return None if content is None else msgspec.msgpack.decode(content, type=Kept)
        except msgspec.MsgspecError as error:
            raise SnapshotRefused("it holds something else") from error

    def clear(self) -> None:
        """Remove what a process left behind that was killed while it wrote."""
        self._file("", b"").clear()

    def _unsealed(self) -> bytes | None:
        try:
            with self.path.open("rb") as file:
                label = file.read(_ID)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SnapshotRefused(f"it cannot be read: {error.strerror}") from error
        try:
            return self._file(*self.derive(_PURPOSE, label.decode())).read()
        except UnicodeDecodeError:
            raise SnapshotRefused("it has no known format") from None
        except KekError as error:
            raise SnapshotRefused(f"it was sealed with another key: {error.message}") from error

    def _file(self, kek_id: str, key: bytes) -> SealedFile:
        return SealedFile(self.path, f"control-plane{self.prefix}", key, kek_id.encode())
