"""What the service is told from outside, read once at the edge.

| variable | means |
|---|---|
| `MENU_WRITER_TOKEN` | the bearer token that callers must send; required |
| `MENU_WRITER_MODEL_DIR` | where the model file is put; default `$BENTOML_HOME/menu_writer` |
| `MENU_WRITER_THREADS` | CPU threads that read prompts; default: the CPUs there are, at most 4. Half as many write |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MODEL_NAME = "gemma-3-270m"
CONTEXT_TOKENS = 2048
MAX_THREADS = 4


class SettingsError(ValueError):
    """An environment variable is missing or makes no sense; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`token` never shows in a repr."""

    token: str = field(repr=False)
    model_dir: Path
    threads: int


def from_environment(environment: Mapping[str, str]) -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: the token is missing or could not be a header's value, or a number is none.
    """
    return Settings(
        token=_token(environment.get("MENU_WRITER_TOKEN", "")),
        model_dir=_model_dir(environment),
        threads=_threads(environment.get("MENU_WRITER_THREADS", "")),
    )


def _token(text: str) -> str:
    if not text:
        raise SettingsError(
            "MENU_WRITER_TOKEN is not set: the service does not start without the bearer token that it"
            " must check. Set it to a long random string."
        )
    if not all("!" <= character <= "~" for character in text):
        raise SettingsError("MENU_WRITER_TOKEN must be printable ASCII without spaces.")
    return text


def _model_dir(environment: Mapping[str, str]) -> Path:
    if given := environment.get("MENU_WRITER_MODEL_DIR"):
        return Path(given)
    home = environment.get("BENTOML_HOME")
    return (Path(home) if home else Path.home() / "bentoml") / "menu_writer"


def _threads(text: str) -> int:
    if not text:
        return min(MAX_THREADS, len(os.sched_getaffinity(0)))
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise SettingsError("MENU_WRITER_THREADS must be a number from 1 to 256.")
    return int(text)
