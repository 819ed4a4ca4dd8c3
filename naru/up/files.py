"""What `naru up` keeps in its data directory: lock, secrets, version stamp, endpoints.json.

<data-dir>/           0700
├── lock              held while a `naru up` runs here
├── kek               0600  32 random bytes, base64: the key that wraps the keys of secrets
├── admin-token       0600
├── ext-proc-key      0600  the key that seals what the workers keep in ext_proc/
├── ext_proc/         0700  <node-id>.lkg: the last known good plans and secrets of a worker
├── failover-key      0600  the key that seals what Envoy starts from, envoy/envoy.lkg
├── control_plane.lkg 0600  what was in etcd last, sealed with a key that comes from the kek
├── control.sock      0600  where `naru restart` asks
├── endpoints.json    0600  where everything listens, and whether it is ready
├── etcd/ etcd.version
├── envoy/            0700  the bootstrap that Envoy was started with; envoy.lkg
└── run/              0700  Unix sockets
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from naru.up.errors import AlreadyRunning, UnusableData


def prepare_data_dir(path: Path) -> Path:
    """Create the directory, mode 0700, or check the one that is there; its absolute path.

    Raises:
        UnusableData: it cannot be created or written, or others may write into it.
    """
    path = path.absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_uid == os.getuid():
            path.chmod(0o700)
    except OSError as error:
        raise UnusableData(f"Cannot use {path} as data directory: {error.strerror}.") from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise UnusableData(
            f"No right to write to the data directory {path}. "
            "Give it to this user, or choose another with --data-dir."
        )
    return path


def lock(data_dir: Path) -> int:
    """Take the lock; the open file descriptor holds it, also for processes that inherit it.

    Raises:
        AlreadyRunning: another process holds it.
    """
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UnusableData(f"Cannot open {data_dir}/lock: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise AlreadyRunning(
            f"Another `naru up` (pid {owner or 'unknown'}) is using {data_dir}. "
            "Stop it, or choose another directory with --data-dir."
        ) from error
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def secret_file(path: Path) -> str:
    """The content of a secret file; made of 32 random bytes, mode 0600, if it is not there.

    Raises:
        UnusableData: it cannot be read, is empty, or others than its owner can read it.
    """
    try:
        if not path.exists():
            write_atomically(path, base64.b64encode(secrets.token_bytes(32)) + b"\n")
        if path.stat().st_mode & 0o077:
            raise UnusableData(f"{path} can be read by others. Run: chmod 600 {path}")
        content = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableData(f"Cannot read {path}: {error}.") from error
    if not content:
        raise UnusableData(f"{path} is empty. Restore it; if nothing needs it yet, delete it.")
    return content


def token_file(path: Path) -> str:
    """As `secret_file`, for a token that travels in headers: made of URL-safe characters."""
    if not path.exists():
        write_atomically(path, secrets.token_urlsafe(32).encode() + b"\n")
    return secret_file(path)


def check_etcd_version(data_dir: Path, version: str) -> None:
    """Refuse data that this etcd cannot read; etcd upgrades one minor version at a time.

    Raises:
        UnusableData: the data was written by a newer etcd, or by one too old to upgrade from.
    """
    stamp = data_dir / "etcd.version"
    ours = _minor(version)
    if stamp.exists() and (data_dir / "etcd").exists():
        found = stamp.read_text(encoding="utf-8").strip()
        theirs = _minor(found)
        if theirs != ours and theirs != (ours[0], ours[1] - 1):
            raise UnusableData(
                f"The data in {data_dir}/etcd was written by etcd {found}, and this is etcd "
                f"{version}, which cannot read it. Use the other version, or another --data-dir."
            )
    write_atomically(stamp, f"{version}\n".encode())


def write_endpoints(data_dir: Path, endpoints: Mapping[str, Any]) -> None:
    """Replace `endpoints.json` in one step, so that a reader never sees half of it."""
    text = json.dumps(endpoints, indent=2, ensure_ascii=False)
    write_atomically(data_dir / "endpoints.json", text.encode() + b"\n")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 by renaming a temporary one over it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _minor(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
