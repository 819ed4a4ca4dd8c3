"""The file of an observer: MessagePack, sealed. See `ext_proc/sealed.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from control_plane.compile.model import Compiled
from control_plane.failover._mirror import Kept, kept
from ext_proc.errors import SnapshotRefused
from ext_proc.sealed import SealedFile


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All methods block."""

    file: SealedFile

    @property
    def path(self) -> Path:
        return self.file.path

    def write(self, compiled: Compiled, /) -> None:
        """Replace the file in one step; raises OSError if it cannot be written."""
        self.file.write(msgspec.msgpack.encode(kept(compiled)))

    def read(self) -> Kept | None:
        """What was written last; nothing if nothing was.

        Raises:
            SnapshotRefused: the file cannot be used.
        """
        content = self.file.read()
        try:
            return None if content is None else msgspec.msgpack.decode(content, type=Kept)
        except msgspec.MsgspecError as error:
            raise SnapshotRefused("it holds something else") from error

    def clear(self) -> None:
        """Remove what a process left behind that was killed while it wrote."""
        self.file.clear()
