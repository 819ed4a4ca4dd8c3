"""`python -m ext_proc SETTINGS --ready-fd N`: a worker as `naru up` starts it.

The same as `naru ext-proc`, without its option parser and what that imports: half of the time from
exec to the first request. SETTINGS is `WorkerSettings` as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any, Final

from ext_proc.process import say_ready
from ext_proc.tls import TlsFiles
from ext_proc.worker import WorkerSettings, run_worker

_PATHS: Final = ("socket", "state_dir", "state_key_file")


def main() -> None:
    parser = argparse.ArgumentParser(prog="ext_proc")
    parser.add_argument("settings", type=read_settings)
    parser.add_argument("--ready-fd", type=int)
    options = parser.parse_args()
    serve(options.settings, options.ready_fd)


def serve(settings: WorkerSettings, ready_fd: int | None) -> None:
    """Run a worker in this process; a newline on `ready_fd` says that it serves.

    Raises:
        OSError: it cannot listen.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(run_worker(settings, ready=say_ready(ready_fd)))


def read_settings(text: str) -> WorkerSettings:
    """`WorkerSettings` out of JSON; what is left out has its default."""
    values: dict[str, Any] = json.loads(text)
    values |= {name: Path(values[name]) for name in _PATHS if values.get(name)}
    values["tls"] = TlsFiles.read(values.get("tls"))
    return WorkerSettings(**values)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"the worker cannot listen: {error}")
