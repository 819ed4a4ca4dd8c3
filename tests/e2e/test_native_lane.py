"""The native lane: Envoy alone. No worker is asked, the credential goes in, bodies pass as they are."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.support.gateway import Gateway, document, wait_for
from tests.support.provider import Provider, running_provider

BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "안녕"}], "user": "u-1"}


@pytest.fixture(scope="module")
def native(gateway: Gateway, provider: Provider) -> Iterator[str]:
    """A proxy whose every part can be had from Envoy alone."""
    gateway.apply(document("Proxy", "native", {"upstreams": [{"name": "provider"}]}))
    yield "native"
    gateway.api.delete("/api/v1/proxies/native").raise_for_status()


def asked_workers(gateway: Gateway) -> int:
    return gateway.envoy_counters()["cluster.ext_proc.upstream_rq_total"]


def ways(proxy: str) -> dict[str, dict[str, object]]:
    return {
        f"/p/{proxy}/v1/chat/completions": BODY,
        "/v1/chat/completions": BODY | {"model": proxy},
    }


@pytest.mark.parametrize("way", ["/p/native/v1/chat/completions", "/v1/chat/completions"])
def test_a_call(gateway: Gateway, provider: Provider, native: str, way: str) -> None:
    before = asked_workers(gateway)
    body = json.dumps(ways(native)[way], indent=3).encode()  # as nobody else would write it
    headers = {
        "content-type": "application/json",
        "authorization": "Bearer callers-own",
        "x-api-key": "callers-own",
        "cookie": "a=b",
    }
    response = gateway.caller.post(way, content=body, headers=headers)
    assert response.status_code == 200, response.text
    received = provider.by_request_id(response.headers["x-request-id"])
    assert received.headers["authorization"] == f"Bearer {provider.key}"
    assert int(received.headers["content-length"]) == len(body)
    assert received.body == json.loads(body)
    assert received.path == "/base/v1/chat/completions"
    assert not {"x-api-key", "cookie", "x-forwarded-for"} & received.headers.keys()
    assert response.headers["x-naru-plan"].startswith("native#")
    assert asked_workers(gateway) == before


def test_a_stream(gateway: Gateway, native: str) -> None:
    body = BODY | {"stream": True}
    with gateway.caller.stream("POST", f"/p/{native}/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.read().endswith(b"data: [DONE]\n\n")


def test_the_simplified_request_needs_a_template(gateway: Gateway, native: str) -> None:
    response = gateway.run(native, {})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "template_required"
    assert f"/p/{native}/v1/chat/completions" in response.json()["error"]["message"]


def test_nothing_else_reaches_it(gateway: Gateway, native: str) -> None:
    for path in (f"/p/{native}/v2/x", f"/p/{native}x/v1/chat/completions", f"/p/{native}/"):
        assert gateway.caller.post(path, json=BODY).status_code == 404, path


def test_a_rotated_secret(gateway: Gateway, provider: Provider, native: str) -> None:
    """Live by itself, without a cluster or a route that moves; and back."""
    way = f"/p/{native}/v1/chat/completions"
    plan = gateway.caller.post(way, json=BODY).headers["x-naru-plan"]
    spec = {"type": "bearer", "secret": "sk-wrong-now", "allowedHosts": ["127.0.0.1"]}
    gateway.apply(document("Credential", "provider-key", spec))
    try:
        wait_for(lambda: gateway.caller.post(way, json=BODY).status_code == 401, 5, "a new secret")
    finally:
        spec["secret"] = provider.key
        gateway.apply(document("Credential", "provider-key", spec))
    last = wait_for(lambda: _ok(gateway.caller.post(way, json=BODY)), 5, "the old secret")
    assert last.headers["x-naru-plan"] == plan


def _ok(response: httpx.Response) -> httpx.Response | None:
    return response if response.status_code == 200 else None


def test_lanes_change_under_load(gateway: Gateway) -> None:
    """native → request → duplex → native …: every answer comes, none without the credential."""
    with running_provider("sk-of-the-load") as own:
        own.keep = False
        gateway.apply(*_changing(own, {}))
        with _Load(gateway) as load:
            for _ in range(4):
                for change in ({"params": {"temperature": 0}}, {}, {"restore": {"[[A]]": "b"}}, {}):
                    gateway.apply(*_changing(own, change))
                    load.more()
        assert load.failures == []
        gateway.api.delete("/api/v1/proxies/changing").raise_for_status()


def _changing(own: Provider, change: dict[str, object]) -> list[dict[str, object]]:
    return [
        document(
            "Credential",
            "load-key",
            {"type": "bearer", "secret": own.key, "allowedHosts": ["127.0.0.1"]},
        ),
        document(
            "Upstream", "load", {"dialect": "openai", "url": own.url, "credential": "load-key"}
        ),
        document("Proxy", "changing", {"upstreams": [{"name": "load"}], **change}),
    ]


class _Load:
    """Callers that never pause, by every way in; what they saw that was not a 200."""

    def __init__(self, gateway: Gateway) -> None:
        self.failures: list[str] = []
        self.calls = 0
        self._stop = threading.Event()
        url = gateway.endpoints["gateway"]
        self._threads = [
            threading.Thread(target=self._call, args=(url, *way))
            for way in ways("changing").items()
        ]

    def more(self) -> None:
        """Wait until every caller has been answered a few times more."""
        enough = self.calls + 20
        wait_for(lambda: self.calls >= enough or self.failures, 20, "more calls")

    def _call(self, url: str, path: str, body: dict[str, object]) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while not self._stop.is_set():
                response = client.post(path, json=body)
                self.calls += 1
                if response.status_code != 200:
                    self.failures.append(f"{response.status_code} {response.text}")

    def __enter__(self) -> _Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)
