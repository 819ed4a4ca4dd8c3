"""What was in etcd last, on the control plane's own disk: it begins with that while etcd is away.

The records are kept as they lie in etcd, secrets in their envelopes, and the file is sealed once
more, with a key derived from the key-encryption key (`ext_proc/sealed.py` has its format). So it
tells nothing without that key, and nobody can put a document into it, or bring an old one back from
another control plane. An older file of the same one cannot be told apart; its revision is shown.
Specification of the derivation: RFC 5869, HKDF with SHA-256.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from control_plane.store._records import Record
from ext_proc.errors import SnapshotRefused
from ext_proc.sealed import KEY_BYTES, SealedFile

_PURPOSE: Final = b"naru/control-plane-last-known-good/1"


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


@dataclass(frozen=True, slots=True)
class LastKnownGood:
    """The file. All methods block.

    `keys` gives the keys that it may be sealed with; the first is the one for new files. `prefix`
    is where the records lie in etcd: the file of another one does not open.
    """

    path: Path
    prefix: str
    keys: Callable[[], Sequence[bytes]]

    def write(self, kept: Kept, /) -> None:
        """Replace the file in one step; raises OSError if it cannot be written."""
        self._file(self.keys()[0]).write(msgspec.msgpack.encode(kept))

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
        self._file(b"").clear()

    def _unsealed(self) -> bytes | None:
        refused = SnapshotRefused("there is no key")
        for key in self.keys():
            try:
                return self._file(key).read()
            except SnapshotRefused as error:
                refused = error
        raise refused

    def _file(self, key: bytes) -> SealedFile:
        return SealedFile(self.path, f"control-plane{self.prefix}", key)


def derived_key(kek: bytes) -> bytes:
    """The key that seals the file, of the key-encryption key."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=_PURPOSE).derive(kek)
