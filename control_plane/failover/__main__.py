"""`python -m control_plane.failover SETTINGS --ready-fd N`: the process as `naru up` starts it.

The same as `naru failover`, without its option parser. SETTINGS is `FailoverSettings` as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any, Final

from control_plane.failover._process import FailoverSettings, run
from ext_proc.process import say_ready
from ext_proc.tls import TlsFiles

_PATHS: Final = ("socket", "state_file", "key_file")


def main() -> None:
    parser = argparse.ArgumentParser(prog="failover")
    parser.add_argument("settings", type=read_settings)
    parser.add_argument("--ready-fd", type=int)
    options = parser.parse_args()
    serve(options.settings, options.ready_fd)


def serve(settings: FailoverSettings, ready_fd: int | None = None) -> None:
    """Run in this process; a newline on `ready_fd` says that it serves.

    Raises:
        OSError: it cannot listen.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(run(settings, ready=say_ready(ready_fd)))


def read_settings(text: str) -> FailoverSettings:
    """`FailoverSettings` out of JSON; what is left out has its default."""
    values: dict[str, Any] = json.loads(text)
    values["tls"] = TlsFiles.read(values.get("tls"))
    return FailoverSettings(**(values | {name: Path(values[name]) for name in _PATHS}))


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"the failover cannot listen: {error}")
