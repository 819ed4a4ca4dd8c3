"""Listening Unix sockets: made at a path that is cleared of what a dead process has left, or taken
over from whoever started this process.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

MAX_PATH: Final = 107
"""Bytes of a path: `sun_path` of unix(7) without its final zero."""
BACKLOG: Final = 1024
"""Connections that may wait to be accepted (the kernel's limit is `net.core.somaxconn`)."""
_FIRST_ACTIVATED: Final = 3  # SD_LISTEN_FDS_START


def listen(path: Path) -> socket.socket:
    """A new socket that listens on `path`.

    Raises:
        OSError: it is not possible.
    """
    clear(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        with private():
            listener.bind(os.fspath(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def adopt(descriptor: int) -> socket.socket:
    """The listening socket that this process was started with.

    Raises:
        OSError: the descriptor is no listening Unix socket.
    """
    listener = socket.socket(fileno=descriptor)
    listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listener.family != socket.AF_UNIX or not listening:
        listener.detach()
        raise OSError(f"file descriptor {descriptor} is no Unix socket that listens")
    listener.set_inheritable(False)
    return listener


def activated(environment: Mapping[str, str], pid: int) -> int | None:
    """The descriptor that a service manager hands over, if one does: sd_listen_fds(3).

    https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html
    """
    mine = environment.get("LISTEN_PID") == str(pid)
    return _FIRST_ACTIVATED if mine and environment.get("LISTEN_FDS") == "1" else None


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
