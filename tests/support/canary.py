"""Secrets that are searched for afterwards, in every spelling that a leak could have."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

_AROUND = ('k/"', "+%\\x")
"""Characters that JSON, URLs and base64 write differently."""


class Canaries:
    """Makes secrets, and finds them again. Each holds a part that no escaping changes."""

    def __init__(self) -> None:
        self._cores: list[str] = []

    def make(self) -> str:
        """Another secret."""
        core = secrets.token_hex(12)
        self._cores.append(core)
        return f"{_AROUND[0]}{core}{_AROUND[1]}"

    def found_in(self, data: bytes) -> list[str]:
        """The spellings that are in the data, by their names. Case does not matter."""
        lower = data.lower()
        return [
            name
            for core in self._cores
            for name, spelling in spellings(core)
            if spelling.lower() in lower
        ]

    def found_under(self, directory: Path) -> dict[str, list[str]]:
        """What is found in the files below the directory."""
        files = [path for path in directory.rglob("*") if path.is_file()]
        return self.found_among((str(path), path.read_bytes()) for path in files)

    def found_among(self, named: Iterable[tuple[str, bytes]]) -> dict[str, list[str]]:
        found = ((name, self.found_in(data)) for name, data in named)
        return {name: how for name, how in found if how}


def spellings(core: str) -> Iterator[tuple[str, bytes]]:
    """Names and bytes. Escaped JSON and URLs hold the core as it is."""
    raw = core.encode()
    yield "plain", raw
    yield "hex", raw.hex().encode()
    yield "reversed", raw[::-1]
    yield "UTF-16", core.encode("utf-16-le")
    yield "URL", quote(core, safe="").encode()
    for shift in range(3):  # base64 has three forms, for what stands before is of any length
        inner = base64.b64encode(b"\0" * shift + raw)[4:-4]
        yield f"base64 at {shift}", inner
        twice = base64.b64encode(b"\0" * shift + base64.b64encode(raw))[4:-8]
        yield f"base64 of base64 at {shift}", twice
