"""`naru up`: the whole system on one machine, as real processes under one supervisor.

    naru up (guard.py) ── python -m naru.up (supervisor.py) ── etcd, control plane, ext_proc, Envoy

`guard.py` says why there are two processes. Linux only: it relies on subreapers and /proc.
"""

from __future__ import annotations

import os
from pathlib import Path

from naru.up import files, python
from naru.up.errors import UpError
from naru.up.guard import run_guarded
from naru.up.settings import read_settings

__all__ = ["UpError", "up"]


def up(
    *, data_dir: Path | None = None, demo: bool = False, open_: bool = False, tls: bool = False
) -> int:
    """Run the system until a signal ends it; the exit status.

    Raises:
        UpError: it cannot start, and why.
    """
    settings = read_settings(os.environ, data_dir=data_dir, demo=demo, open_=open_, tls=tls)
    where = files.prepare_data_dir(settings.data_dir)
    lock = files.lock(where)
    options = [*(["--demo"] if demo else []), *(["--open"] if open_ else [])]
    options += ["--tls"] if tls else []
    arguments = ("--data-dir", str(where), "--lock", str(lock), *options)
    os.environ.update(python.own_path())
    endpoints = where / "endpoints.json"
    endpoints.unlink(missing_ok=True)
    try:
        return run_guarded(python.command("naru.up", *arguments), keep=(lock,))
    finally:
        # Also when the supervisor was killed: nothing runs any more, and the file must not say so.
        endpoints.unlink(missing_ok=True)
        os.close(lock)
