"""The product as `naru up` starts it, once for each transport of ext_proc; a proxy for each lane.

What a lane's name promises is checked on the running product, not read from its configuration: a
native call reaches no ext_proc worker, a template's messages reach the provider, the duplex lane's
answer has the text that its proxy restores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import httpx

from bench import upstream
from bench.contestants._model import (
    CALLERS_KEY,
    Contestant,
    Place,
    Request,
    System,
    Unavailable,
    chat_body,
    run_body,
    templated_body,
)
from bench.processes import Roles
from tests.support.gateway import Gateway, document, running_gateway

RESTORED: Final = "Hana's Kitchen"
"""What the duplex lane puts in the place of the provider's `[[SHOP]]`."""
Lane = str
_EXT_PROC_CALLS: Final = "cluster.ext_proc.upstream_rq_total"


@dataclass(slots=True)
class Naru:
    """A running product; `refused` says why a lane is not there."""

    gateway: Gateway
    settings: Mapping[str, object]
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def roles(self) -> Roles:
        pids = self.gateway.endpoints["pids"]
        supervisor = self.gateway.process.pid
        return {
            "envoy": pids["envoy"],
            "server": pids["ext_proc"],
            "control_plane": pids["control_plane"],
            "etcd": pids["etcd"],
            # It has all others as children, so its tree would be everything.
            "supervisor": [supervisor],
        }

    def ext_proc_calls(self) -> int:
        return self.gateway.envoy_counters().get(_EXT_PROC_CALLS, 0)


@contextmanager
def _start(transport: str, place: Place) -> Iterator[System]:
    environment = {"NARU_TRANSPORT": transport}
    with running_gateway(place.directory / "data", **environment) as gateway:
        naru = Naru(gateway, {"environment": environment, "documents": documents(place)})
        base, lanes = documents(place)[:4], documents(place)[4:]
        gateway.apply(*base)
        for lane in lanes:
            answer = gateway.apply_any(lane)
            if answer.status_code not in (200, 201):
                naru.refused[lane["metadata"]["name"]] = answer.text[:300]
        yield naru


def documents(place: Place) -> list[dict[str, Any]]:
    """Credential, upstreams and template; then a proxy for each lane."""
    hosts = {"allowedHosts": ["127.0.0.1"]}
    choice = [{"name": "plain"}]
    made = [{"name": "templated", "model": "bench-model"}]
    restore = {upstream.MARK: RESTORED}
    return [
        document("Credential", "provider", {"type": "bearer", "secret": upstream.KEY} | hosts),
        _upstream("plain", place.upstream.base("plain")),
        _upstream("templated", place.upstream.base("template")),
        _template(),
        document("Proxy", "native", {"upstreams": choice}),
        document("Proxy", "request", {"upstreams": made, "template": "menu"}),
        document("Proxy", "duplex", {"upstreams": choice, "restore": restore}),
    ]


def _upstream(name: str, url: str) -> dict[str, Any]:
    return document("Upstream", name, {"dialect": "openai", "url": url, "credential": "provider"})


def _template() -> dict[str, Any]:
    text = {"type": "string", "maxLength": 4000}
    spec = {
        "variables": {
            "type": "object",
            "properties": {"dish": text, "mood": {"enum": ["warm", "fresh"]}},
            "required": ["dish", "mood"],
        },
        "messages": [
            {"role": "system", "content": upstream.SYSTEM + " Be {{ mood }}."},
            {"role": "user", "content": "Describe: {{ dish }}"},
        ],
        "params": {"temperature": 0.7},
    }
    return document("Template", "menu", spec)


def _request(path: str, body: bytes, system: System) -> Request:
    assert isinstance(system, Naru)
    url = str(system.gateway.caller.base_url).rstrip("/") + path
    return Request(url, body, {"authorization": f"Bearer {CALLERS_KEY}"})


def _check(lane: Lane, system: System, request: Request) -> None:
    assert isinstance(system, Naru)
    if lane in system.refused:
        raise Unavailable(f"the control plane refused the proxy: {system.refused[lane]}")
    before = system.ext_proc_calls()
    headers = {"content-type": "application/json", **request.headers}
    text = httpx.post(request.url, content=request.body, headers=headers, timeout=10).text
    called = system.ext_proc_calls() > before
    if called != (lane != "native"):
        raise Unavailable(f"its lane is not {lane}: ext_proc was {'' if called else 'not '}called")
    if lane == "duplex" and (upstream.MARK in text or RESTORED not in text):
        raise Unavailable("the answer's text was not restored")


def _ways_in() -> Mapping[str, tuple[Lane, str, bytes]]:
    sdk = "v1/chat/completions"
    return {
        "native": ("native", f"/p/native/{sdk}", chat_body("any")),
        "native-v1": ("native", f"/{sdk}", chat_body("native")),
        "request": ("request", "/p/request", run_body()),
        "request-v1": ("request", f"/{sdk}", templated_body("request")),
        "duplex": ("duplex", f"/p/duplex/{sdk}", chat_body("any")),
    }


def _contestant(name: str, way: str, system: str) -> Contestant:
    lane, path, body = _ways_in()[way]
    return Contestant(name, system, partial(_request, path, body), partial(_check, lane))


SYSTEMS: Final = {
    "naru": partial(_start, "native"),
    "naru-grpcio": partial(_start, "grpcio"),
}
CONTESTANTS: Final = (
    *(_contestant(way, way, "naru") for way in _ways_in()),
    _contestant("request-grpcio", "request", "naru-grpcio"),
    _contestant("duplex-grpcio", "duplex", "naru-grpcio"),
)
