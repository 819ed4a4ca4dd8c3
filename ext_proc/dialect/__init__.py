"""Dialects: how a caller's request becomes the body that an upstream understands.

One file per dialect, pure functions without I/O; a new one is a new file and a line in `DIALECTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ext_proc.dialect import openai
from ext_proc.dialect._model import Dialect, Proxy, Request

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType({"openai": openai.rewrite})
"""By the name that an `Upstream` gives (`spec.dialect`)."""

__all__ = ["DIALECTS", "Dialect", "Proxy", "Request"]
