"""What a contestant is: a system that runs, and one way to ask it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from bench import upstream
from bench.processes import Roles

WORKERS: Final = 2
"""Bare Envoy's threads and the peers' processes: the cores of the machine."""
BODY_BYTES: Final = 1024
CALLERS_KEY: Final = "sk-caller-20d5a1"


class Unavailable(Exception):
    """A contestant cannot run, or does not do the job; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller sends: POST `url`."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the provider listens, and the process that it is."""

    port: int
    pid: int

    def base(self, job: str = "plain") -> str:
        """The base URL of one job, up to and with `/v1`."""
        return f"http://127.0.0.1:{self.port}/{job}/v1"


class System(Protocol):
    """Something that runs and serves contestants."""

    @property
    def roles(self) -> Roles:
        """Its processes. `envoy` and `server` (ext_proc, or the whole peer) carry requests."""

    @property
    def settings(self) -> Mapping[str, object]:
        """Version and configuration, kept with the results."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a system is given: the provider, and a directory of its own."""

    upstream: Upstream
    directory: Path


StartSystem = Callable[[Place], AbstractContextManager[System]]


@dataclass(frozen=True, slots=True)
class Contestant:
    """One row of the table.

    Attributes:
        system: the name of the system that it needs; contestants may share one.
        request: how to ask it, given its system.
        check: raises `Unavailable` if the system does not do what the name promises.
    """

    name: str
    system: str
    request: Callable[[System], Request]
    check: Callable[[System, Request], None]


def chat_body(model: str, size: int = BODY_BYTES, **fields: object) -> bytes:
    """A chat completion of exactly `size` bytes, as an SDK writes it."""
    return _padded(lambda content: {"model": model, "messages": _messages(content)} | fields, size)


def run_body(size: int = BODY_BYTES, **fields: object) -> bytes:
    """The simplified request with the template's variables, of exactly `size` bytes."""
    return _padded(lambda content: {"variables": _variables(content)} | fields, size)


def templated_body(model: str, size: int = BODY_BYTES, **fields: object) -> bytes:
    """The template's variables as an OpenAI client sends them, of exactly `size` bytes."""
    return _padded(
        lambda content: {"model": model, "messages": [], "variables": _variables(content)} | fields,
        size,
    )


def _messages(content: str) -> list[dict[str, str]]:
    system = {"role": "system", "content": upstream.SYSTEM}
    return [system, {"role": "user", "content": content}]


def _variables(content: str) -> dict[str, str]:
    return {"mood": "warm", "dish": content}


def _padded(make: Callable[[str], Mapping[str, object]], size: int) -> bytes:
    text = f"{upstream.TEXT}, please: "
    missing = size - len(json.dumps(make(text)))
    if missing < 0:
        raise ValueError(f"a body of {size} bytes is too small")
    filler = ("one with an egg, one without. " * (missing // 30 + 1))[:missing]
    return json.dumps(make(text + filler)).encode()
