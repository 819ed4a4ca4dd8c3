"""What a worker knew last, sealed on its own disk (`sealed.py`): it starts from that when the
control plane is away.

Inside is MessagePack: for each type its URL and its resources, as they came by ADS. Not here: when
a snapshot is used (`worker.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ext_proc.ads import Known
from ext_proc.errors import SnapshotRefused
from ext_proc.sealed import SealedFile


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One worker's file. All methods block."""

    path: Path
    node_id: str
    key: bytes = field(repr=False)

    def write(self, known: Known) -> None:
        """Replace the file in one step.

        Raises:
            OSError: it cannot be written.
        """
        self._file.write(msgspec.msgpack.encode(known))

    def read(self) -> Known | None:
        """What was written last; nothing if nothing was.

        Raises:
            SnapshotRefused: the file cannot be used.
        """
        content = self._file.read()
        try:
            return None if content is None else msgspec.msgpack.decode(content, type=Known)
        except msgspec.MsgspecError as error:
            raise SnapshotRefused("it holds something else") from error

    def clear(self) -> None:
        """Remove what workers of this id left behind that were killed while they wrote."""
        self._file.clear()

    @property
    def _file(self) -> SealedFile:
        return SealedFile(self.path, self.node_id, self.key)
