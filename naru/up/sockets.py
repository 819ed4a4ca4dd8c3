"""Questions to the operating system about ports and Unix socket paths."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from pathlib import Path

from naru.up.errors import UpError

MAX_SOCKET_PATH = 107
"""Bytes of `sockaddr_un.sun_path` without its final NUL (Linux unix(7))."""
_BACKLOG = 1024


def is_free(host: str, port: int) -> bool:
    """Whether this process could listen there now.

    Raises:
        UpError: the host is not an address of this machine, or the port is privileged.
    """
    try:
        with _bound(host, port):
            return True
    except PermissionError as error:
        raise UpError(f"No right to listen on {host}:{port}; choose a port above 1023.") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return False
        raise UpError(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error


def pick_free(host: str) -> int:
    """A port that was free a moment ago."""
    with _bound(host, 0) as listener:
        port: int = listener.getsockname()[1]
        return port


def socket_dir(data_dir: Path, longest_name: str) -> tuple[Path, bool]:
    """A directory of mode 0700 whose sockets have paths that fit, and whether it is temporary."""
    run = data_dir / "run"
    if len(str(run / longest_name).encode()) <= MAX_SOCKET_PATH:
        run.mkdir(mode=0o700, exist_ok=True)
        return run, False
    return Path(tempfile.mkdtemp(prefix="naru-")), True


def listen(path: Path) -> socket.socket:
    """A Unix socket that listens on `path`, for this user only; what was there is replaced.

    Raises:
        UpError: it cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise UpError(f"Cannot listen on {path}: {error.strerror or error}.") from error
    finally:
        os.umask(before)
    return listener


def _bound(host: str, port: int) -> socket.socket:
    family, _, _, _, where = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # As the parts themselves do: a port that only has closed connections left over is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener
