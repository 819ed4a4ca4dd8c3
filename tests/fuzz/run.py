"""Fuzz the HTTP/2 connection for a time: `python -m tests.fuzz.run SECONDS [FOLDER]`.

FOLDER keeps the inputs that reached new code, for the next run; without it they are forgotten.
Exit status: 0 if nothing was found; libFuzzer prints the input that raised otherwise.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ext_proc.transport.h2", "hpack"]):
    import ext_proc.transport.h2  # noqa: F401

from tests.fuzz import corpus, harness

_LONGEST = 4_096  # bytes of an input


def main(seconds: int, folder: Path) -> None:
    corpus.write(folder)
    options = (
        f"-max_total_time={seconds}", f"-max_len={_LONGEST}", "-timeout=10", "-rss_limit_mb=1024",
        "-print_final_stats=1", f"-artifact_prefix={folder}/", str(folder),
    )  # fmt: skip
    atheris.Setup([sys.argv[0], *options], harness.run)
    atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(int(sys.argv[1]), Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory(prefix="naru-fuzz") as folder:
            main(int(sys.argv[1]), Path(folder))
