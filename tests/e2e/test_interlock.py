"""The interlock: whatever becomes of ext_proc, nothing unprocessed reaches the upstream.

The gateway's real chain, compiled from resources, with a server in the workers' place that
misbehaves in every way there is; behind it an upstream that records all it gets.
"""

from __future__ import annotations

import http.client
import json
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from control_plane.compile import Compiled, Compiler, GatewaySettings
from control_plane.compile.model import PLAN
from control_plane.resources import Key, Resource, parse
from tests.support import golden  # golden: knows every message's type
from tests.support import misbehaving as bad
from tests.support.bootstrap import ext_proc_cluster, static_bootstrap
from tests.support.envoy import EnvoyProcess
from tests.support.gateway import document
from tests.support.provider import Provider, running_provider

assert golden
LANES = ("request", "duplex")
BODY = json.dumps({"variables": {"dish": "x"}, "messages": [], "model": "MODEL"})
JSON = {"content-type": "application/json"}


@dataclass
class Chain:
    """An Envoy with the whole chain. `socket` is where it looks for its worker."""

    port: int
    socket: Path
    compiled: Compiled
    provider: Provider

    def plan(self, lane: str) -> str:
        (name,) = [name for name in self.compiled.resources[PLAN] if name.startswith(f"{lane}#")]
        return name

    def call(self, lane: str, way: str, body: str | None = BODY) -> tuple[int, str]:
        """The status, and the error's code; none where a closed stream swallowed the body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        content = body.replace("MODEL", lane) if body is not None else None
        connection.request("POST", way.format(lane), content, JSON)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response.status, json.loads(answer)["error"]["code"] if answer else ""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with tempfile.TemporaryDirectory(prefix="naru") as short, running_provider() as provider:
        compiled = Compiler(GatewaySettings(port=0, ext_proc_timeout=0.5)).compile(
            1, _resources(provider)
        )
        path = Path(short) / "w.sock"
        bootstrap = MessageToDict(static_bootstrap(compiled, (ext_proc_cluster(str(path)),)))
        _lose_secrets(bootstrap, Path(short) / "nothing.json")
        bootstrap["node"] = {"id": "gateway", "cluster": "gateway"}
        envoy = EnvoyProcess(tmp_path_factory.mktemp("envoy"), bootstrap)
        with envoy:
            yield Chain(envoy.port("gateway"), path, compiled, provider)


def _resources(provider: Provider) -> dict[Key, Resource]:
    choice = {"upstreams": [{"name": "provider", "model": "m"}], "template": "t"}
    message = {"role": "user", "content": "Describe {{ dish }}"}
    documents = [
        document(
            "Credential",
            "key",
            {"type": "bearer", "secret": provider.key, "allowedHosts": ["127.0.0.1"]},
        ),
        document(
            "Upstream", "provider", {"dialect": "openai", "url": provider.url, "credential": "key"}
        ),
        document("Template", "t", {"variables": {}, "messages": [message]}),
        document("Proxy", "native", {"upstreams": [{"name": "provider"}]}),
        document("Proxy", "request", choice),
        document("Proxy", "duplex", choice | {"restore": {"[[A]]": "b"}}),
    ]
    resources = [parse(each) for each in documents]
    return {resource.key: resource for resource in resources}


def _lose_secrets(bootstrap: dict[str, Any], nothing: Path) -> None:
    """The native lane's secret never comes: its source is there, and empty."""
    nothing.write_text("{}")
    source = {"pathConfigSource": {"path": str(nothing)}, "initialFetchTimeout": "0.1s"}
    for cluster in bootstrap["staticResources"]["clusters"]:
        for options in cluster["typedExtensionProtocolOptions"].values():
            for each in options.get("httpFilters", ()):
                if "credential" in each["typedConfig"]:
                    generic = each["typedConfig"]["credential"]["typedConfig"]
                    generic["credential"]["sdsConfig"] = source


Server = Callable[[Chain, str], AbstractContextManager[None]]


def serving(behaviour: bad.Behaviour) -> Server:
    return lambda chain, _lane: bad.misbehaving(chain.socket, behaviour)


def saying(answer: Callable[[str], bad.ProcessingResponse]) -> Server:
    """A server that answers each body so; `answer` is given the plan's name."""
    return lambda chain, lane: bad.misbehaving(chain.socket, bad.says(answer(chain.plan(lane))))


PROCESSED = b'{"model": "m", "messages": [{"role": "user", "content": "processed"}]}'
FAULTS: dict[str, tuple[Server, int, str]] = {
    "no server": (lambda _chain, _lane: nullcontext(), 503, "processor_unavailable"),
    "closes at once": (serving(bad.closes_at_once), 503, "not_processed"),
    "closes before the answer": (serving(bad.closes_early), 503, "not_processed"),
    "aborts": (serving(bad.aborts), 503, "processor_unavailable"),
    "garbage": (serving(bad.says_garbage), 503, "processor_unavailable"),
    "hangs": (serving(bad.hangs), 504, "processor_timeout"),
    "dies": (lambda chain, _lane: bad.dying(chain.socket), 503, "processor_unavailable"),
    "answers headers": (serving(bad.says(bad.HEADERS)), 503, "processor_unavailable"),
    "answers the answer": (serving(bad.says(bad.ANSWER_HEADERS)), 503, "processor_unavailable"),
    "answers trailers": (serving(bad.says(bad.TRAILERS)), 503, "processor_unavailable"),
    "answers nothing": (
        serving(bad.says(bad.ProcessingResponse())), 503, "processor_unavailable",
    ),
    "changes nothing": (saying(lambda _plan: bad.body()), 503, "not_processed"),
    "names no plan": (saying(lambda _plan: bad.body(PROCESSED)), 503, "not_processed"),
    "names another plan": (
        saying(lambda plan: bad.body(PROCESSED, plan=plan + "x", credential="Bearer k")),
        503, "not_processed",
    ),
    "no credential": (
        saying(lambda plan: bad.body(PROCESSED, plan=plan)), 503, "not_processed",
    ),
    "an empty credential": (
        saying(lambda plan: bad.body(PROCESSED, plan=plan, credential="")), 503, "not_processed",
    ),
    "a header instead": (
        saying(lambda _plan: bad.forging("x-naru-plan", "request")), 503, "not_processed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", ["/p/{}", "/p/{}/v1/chat/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_unprocessed_reaches_the_upstream(
    chain: Chain, fault: str, lane: str, way: str
) -> None:
    server, status, code = FAULTS[fault]
    with server(chain, lane):
        answer = chain.call(lane, way)
    assert answer == (status, code) or (lane == "duplex" and answer == (status, ""))
    chain.socket.unlink(missing_ok=True)
    assert chain.provider.received == []


@pytest.mark.parametrize("way", ["/p/{}", "/p/{}/v1/chat/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("body", ["", None])
def test_requests_without_a_body(chain: Chain, lane: str, way: str, body: str | None) -> None:
    with bad.misbehaving(chain.socket, bad.closes_early):
        assert chain.call(lane, way, body)[0] in (400, 415)
    chain.socket.unlink(missing_ok=True)
    assert chain.provider.received == []


@pytest.mark.parametrize("way", ["/p/{}/v1/chat/completions", "/v1/chat/completions"])
def test_the_native_lane_without_its_secret(chain: Chain, way: str) -> None:
    """No worker is asked, so nothing but the cluster's own filter can keep the promise."""
    assert chain.call("native", way) == (503, "credential_unavailable")
    assert chain.provider.received == []


@pytest.mark.parametrize("lane", LANES)
def test_a_body_that_never_ends(chain: Chain, lane: str) -> None:
    """Headers and half a body, then the caller is gone."""
    head = f"POST /p/{lane} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with (
        bad.misbehaving(chain.socket, bad.says(bad.body(PROCESSED))),
        socket.create_connection(("127.0.0.1", chain.port)) as caller,
    ):
        caller.sendall(head.encode() + b"content-length: 100\r\n\r\n" + BODY[:20].encode())
    chain.socket.unlink(missing_ok=True)
    assert chain.provider.received == []


@pytest.mark.parametrize("lane", LANES)
def test_what_is_right_does_pass(chain: Chain, lane: str) -> None:
    """So the table above can fail: the same server, with the one right answer."""
    key = f"Bearer {chain.provider.key}"
    right = bad.body(PROCESSED, plan=chain.plan(lane), version="v", credential=key)
    with bad.misbehaving(chain.socket, bad.says(right)):
        connection = http.client.HTTPConnection("127.0.0.1", chain.port, timeout=20)
        connection.request("POST", f"/p/{lane}", BODY, JSON)
        connection.getresponse()
        connection.close()
    chain.socket.unlink(missing_ok=True)
    (received,) = chain.provider.received
    assert received.contents == ["processed"]
    chain.provider.received.clear()


def ends_in_the_answer(chain: Chain, ending: bad.Behaviour) -> bad.Behaviour:
    """Answers the request rightly, lets the answer's headers pass, and then does `ending`."""
    key = f"Bearer {chain.provider.key}"
    right = bad.body(PROCESSED, plan=chain.plan("duplex"), version="v", credential=key)

    def behave(requests: Iterator[bytes], context: bad.grpc.ServicerContext) -> Iterator[bytes]:
        next(requests)
        yield right.SerializeToString()
        next(requests)
        yield bad.ANSWER_HEADERS.SerializeToString()
        yield from ending(requests, context)

    return behave


@pytest.mark.parametrize("ending", [bad.closes_early, bad.aborts, bad.says_garbage])
def test_an_answer_that_nobody_restored_does_not_arrive(
    chain: Chain, ending: bad.Behaviour
) -> None:
    """Not `closes_at_once`: what a provider says *after* its worker has ended the stream with OK
    passes as it came, and Envoy has nothing to stop it with (ARCHITECTURE.md). No worker does so."""
    answer = b""
    with (
        bad.misbehaving(chain.socket, ends_in_the_answer(chain, ending)),
        closing(http.client.HTTPConnection("127.0.0.1", chain.port, timeout=20)) as connection,
        suppress(http.client.HTTPException),
    ):
        connection.request("POST", "/p/duplex", BODY, JSON)
        answer = connection.getresponse().read()
    chain.socket.unlink(missing_ok=True)
    (received,) = chain.provider.received
    assert received.contents == ["processed"]
    chain.provider.received.clear()
    assert b"processed" not in answer
