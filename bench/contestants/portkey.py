"""Portkey's gateway from npm, one process for each core behind Node's own cluster.

Its open-source edition checks no callers and stores no keys: a request says in `x-portkey-config`
which provider it goes to and with which key, and the gateway puts that key on it.
https://portkey.ai/docs/product/ai-gateway/configs
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from bench import upstream
from bench.contestants import _install
from bench.contestants._model import WORKERS, Contestant, Place, Request, System, chat_body
from bench.processes import Roles, running
from tests.support.gateway import free_port, wait_for

_ENVIRONMENT: Final = {"NODE_ENV": "production", "WORKERS": str(WORKERS)}


@dataclass(frozen=True, slots=True)
class Portkey:
    """A running gateway; `config` is what callers send with each request."""

    port: int
    config: Mapping[str, str]
    roles: Roles
    settings: Mapping[str, object]


@contextmanager
def start(place: Place) -> Iterator[System]:
    """The gateway, ready."""
    directory, port = _install.portkey(), free_port()
    command = ["node", "cluster.mjs", "--headless", f"--port={port}"]
    environment = os.environ | _ENVIRONMENT
    config = {
        "provider": "openai",
        "api_key": upstream.KEY,
        "custom_host": place.upstream.base("plain"),
    }
    log = place.directory / "portkey.log"
    with running(command, log, cwd=directory, env=environment) as process:
        wait_for(lambda: process.poll() is not None or _ready(port), 60, "Portkey")
        settings = {
            "version": json.loads((directory / "package.json").read_text())["dependencies"],
            "command": "node cluster.mjs --headless",
            "environment": _ENVIRONMENT,
            "cluster.mjs": (directory / "cluster.mjs").read_text(),
            "x-portkey-config": config,
        }
        yield Portkey(port, config, {"server": [process.pid]}, settings)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
    except httpx.HTTPError:
        return False


def _request(system: System) -> Request:
    assert isinstance(system, Portkey)
    url = f"http://127.0.0.1:{system.port}/v1/chat/completions"
    return Request(
        url, chat_body("bench-model"), {"x-portkey-config": json.dumps(dict(system.config))}
    )


def _check(system: System, request: Request) -> None:
    """That the key is right is the provider's to say."""


CONTESTANTS: Final = (Contestant("portkey", "portkey", _request, _check),)
