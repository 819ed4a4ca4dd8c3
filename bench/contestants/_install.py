"""Installs the peers into a cache, from locks with hashes, where they are not there yet.

The cache is `bench/.cache`, or where `NARU_BENCH_CACHE` says. The registries are those that pip and
npm are configured for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bench.contestants._model import Unavailable

PEERS: Final = Path(__file__).resolve().parent.parent / "peers"


def litellm() -> Path:
    """The directory of its environment's programs."""
    lock = PEERS / "litellm.lock"
    place = _cache() / "litellm"
    if _is_new(place, [lock]):
        _announce("litellm")
        _run([sys.executable, "-m", "venv", "--clear", str(place)])
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-q"]
        _run([*pip, "--no-deps", "--require-hashes", "-r", str(lock)])
        _remember(place, [lock])
    return place / "bin"


def portkey() -> Path:
    """The directory with `cluster.mjs` and its `node_modules`."""
    files = [PEERS / "portkey" / name for name in ("package.json", "package-lock.json")]
    place = _cache() / "portkey"
    if shutil.which("npm") is None:
        raise Unavailable("npm is not installed. Run: apt-get install nodejs npm")
    if _is_new(place, files):
        _announce("portkey")
        place.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, place)
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], place)
        _remember(place, files)
    shutil.copy(PEERS / "portkey" / "cluster.mjs", place)
    return place


def _cache() -> Path:
    chosen = os.environ.get("NARU_BENCH_CACHE")
    return Path(chosen) if chosen else PEERS.parent / ".cache"


def _announce(name: str) -> None:
    print(f"installing {name} (a minute, the first time only) …", flush=True)


def _is_new(place: Path, locks: Iterable[Path]) -> bool:
    stamp = place / "installed"
    return not stamp.is_file() or stamp.read_text() != _digest(locks)


def _remember(place: Path, locks: Iterable[Path]) -> None:
    (place / "installed").write_text(_digest(locks))


def _digest(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _run(command: Sequence[str], directory: Path | None = None) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=900)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-500:]
        raise Unavailable(f"{Path(command[0]).name} failed: {words}")
