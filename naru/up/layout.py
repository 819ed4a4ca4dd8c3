"""Where everything of one run is, settled once before anything starts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from naru.up import files
from naru.up.addresses import Address, settle
from naru.up.binaries import version
from naru.up.errors import UnusableData
from naru.up.settings import UpSettings
from naru.up.sockets import is_free, pick_free, socket_dir


@dataclass(frozen=True, slots=True)
class Layout:
    """`data_dir` and `sockets` are absolute; `notes` tell what is not where one expects it."""

    data_dir: Path
    at: Mapping[str, Address]
    sockets: tuple[Path, ...]
    failover_socket: Path
    temporary: Path | None
    kek_file: Path
    admin_token_file: Path
    state_key_file: Path
    failover_key_file: Path
    kek: str = field(repr=False)
    admin_token: str = field(repr=False)
    model_token: str = field(repr=False)
    state_key: str = field(repr=False)
    failover_key: str = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def worker_ids(self) -> tuple[str, ...]:
        return tuple(f"ext-proc-{index}" for index in range(len(self.sockets)))

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.kek, self.admin_token, self.model_token, self.state_key, self.failover_key)

    def clean_up(self) -> None:
        for path in (*self.sockets, self.failover_socket):
            path.unlink(missing_ok=True)
        if self.temporary is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)


def lay_out(settings: UpSettings) -> Layout:
    """Make the files that are missing, and choose ports and socket paths.

    Raises:
        UpError: a port or a file cannot be used.
    """
    data_dir = settings.data_dir
    settled = settle(settings.wanted, is_free, pick_free)
    files.check_etcd_version(data_dir, version("etcd"))
    kek_file = settings.kek_file or data_dir / "kek"
    token_file = settings.admin_token_file or data_dir / "admin-token"
    state_key_file, failover_key_file = data_dir / "ext-proc-key", data_dir / "failover-key"
    secrets = {
        "kek": settings.kek or _kek(kek_file, data_dir),
        "admin_token": files.token_file(token_file),
        "model_token": files.token_file(data_dir / "menu-writer-token") if settings.demo else "",
        "state_key": files.secret_file(state_key_file),
        "failover_key": files.secret_file(failover_key_file),
    }
    run, temporary = socket_dir(data_dir, f"ext-proc-{settings.workers}.sock")
    return Layout(
        data_dir=data_dir,
        at=settled.addresses,
        sockets=tuple(run / f"ext-proc-{index}.sock" for index in range(settings.workers)),
        failover_socket=run / "failover.sock",
        temporary=run if temporary else None,
        kek_file=kek_file.absolute(),
        admin_token_file=token_file.absolute(),
        state_key_file=state_key_file,
        failover_key_file=failover_key_file,
        notes=settled.notes,
        **secrets,
    )


def _kek(path: Path, data_dir: Path) -> str:
    """The key-encryption key. A new one is made only where no data can need a lost one."""
    if not path.exists() and (data_dir / "etcd").exists():
        raise UnusableData(
            f"{path} is missing, and the secrets in {data_dir}/etcd can only be opened with it. "
            "Restore it, or start over with another --data-dir."
        )
    return files.secret_file(path)
