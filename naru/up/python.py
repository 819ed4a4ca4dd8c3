"""How this program starts itself again in another role."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import naru

ROOT = Path(naru.__file__).resolve().parent.parent
"""The checkout, or site-packages."""

_LOOPBACK = "127.0.0.1,localhost,::1"


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """`-P`: a file in the working directory must not shadow a module."""
    return (sys.executable, "-P", "-m", module, *arguments)


def checkout() -> Path | None:
    """The root of the repository, if this is not an installed copy."""
    return ROOT if (ROOT / "pyproject.toml").is_file() else None


def environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of one of our own roles: unbuffered, same modules, every `NARU_*` setting."""
    found = os.environ if base is None else base
    ours = {name: value for name, value in found.items() if name.startswith("NARU_")}
    return plain_environment(found) | ours | own_path() | {"PYTHONUNBUFFERED": "1"}


def own_path() -> dict[str, str]:
    """PYTHONPATH with the checkout, for a checkout that is not installed."""
    root = checkout()
    if root is None:
        return {}
    others = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    paths = [str(root), *(path for path in others if path != str(root))]
    return {"PYTHONPATH": os.pathsep.join(paths)}


def plain_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a program that is not ours gets: nothing of ours, nothing that reconfigures etcd."""
    found = os.environ if base is None else base
    env = {k: v for k, v in found.items() if not k.startswith(("NARU_", "ETCD_"))}
    for name in ("no_proxy", "NO_PROXY"):
        env[name] = ",".join(filter(None, [found.get(name), _LOOPBACK]))
    return env
