"""Unix socket paths: checked, and cleared of what a dead process has left."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

MAX_PATH: Final = 107
"""Bytes of a path: `sun_path` of unix(7) without its final zero."""


def clear(path: Path) -> None:
    """Remove a socket on which nobody listens any more.

    Raises:
        OSError: the path is too long, is something else than a socket, or is in use.
    """
    if len(os.fsencode(path)) > MAX_PATH:
        raise OSError(f"a socket's path may have {MAX_PATH} bytes: {path}")
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(f"not a socket: {path}")
        if _answers(path):
            raise OSError(f"another process listens on {path}")
        path.unlink()


@contextmanager
def private() -> Iterator[None]:
    """Sockets made inside are open to nobody but this user."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(os.fspath(path)) == 0
