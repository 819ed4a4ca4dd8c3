"""LiteLLM's proxy, one worker for each core, as its page on production says.

https://docs.litellm.ai/docs/proxy/prod; `bench/peers/litellm.yaml` says what is left out and why.
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
from bench.contestants._model import (
    CALLERS_KEY,
    WORKERS,
    Contestant,
    Place,
    Request,
    System,
    Unavailable,
    chat_body,
)
from bench.processes import Roles, running
from tests.support.gateway import free_port, wait_for

_ENVIRONMENT: Final = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    # Otherwise it asks the internet for the models' prices when it starts.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
_START_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class LiteLLM:
    """A running proxy."""

    port: int
    roles: Roles
    settings: Mapping[str, object]


@contextmanager
def start(place: Place) -> Iterator[System]:
    """The proxy, ready."""
    programs, port = _install.litellm(), free_port()
    config = _install.PEERS / "litellm.yaml"
    arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    arguments += ["--num_workers", str(WORKERS)]
    secrets = {"LITELLM_MASTER_KEY": CALLERS_KEY, "BENCH_PROVIDER_KEY": upstream.KEY}
    environment = _ENVIRONMENT | secrets | {"BENCH_UPSTREAM": place.upstream.base("plain")}
    log = place.directory / "litellm.log"
    command = [str(programs / "litellm"), *arguments]
    with running(command, log, env=os.environ | environment) as process:
        wait_for(lambda: process.poll() is not None or _ready(port), _START_SECONDS, "LiteLLM")
        if process.poll() is not None:
            raise Unavailable(f"LiteLLM ended: {log.read_text()[-500:]}")
        settings = {
            "version": _version(),
            "command": f"litellm --config litellm.yaml --num_workers {WORKERS}",
            "environment": _ENVIRONMENT,
            "litellm.yaml": config.read_text(),
        }
        yield LiteLLM(port, {"server": [process.pid]}, settings)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/readiness").status_code == 200
    except httpx.HTTPError:
        return False


def _version() -> str:
    return (_install.PEERS / "litellm.in").read_text().strip().partition("==")[2]


def _request(system: System) -> Request:
    assert isinstance(system, LiteLLM)
    url = f"http://127.0.0.1:{system.port}/v1/chat/completions"
    headers = {"authorization": f"Bearer {CALLERS_KEY}"}
    return Request(url, chat_body("bench-model"), headers)


def _check(system: System, request: Request) -> None:
    """A caller without the right key must be refused: it is part of the job."""
    headers = {"content-type": "application/json", "authorization": "Bearer sk-wrong"}
    answer = httpx.post(request.url, content=request.body, headers=headers, timeout=60)
    if answer.status_code < 400:
        raise Unavailable(f"it took a wrong key: {json.dumps(answer.text[:100])}")


CONTESTANTS: Final = (Contestant("litellm", "litellm", _request, _check),)
