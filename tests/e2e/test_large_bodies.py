"""Pictures in base64: large bodies pass, by every lane that takes them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator

import pytest

from tests.support.gateway import Gateway, document
from tests.support.provider import Provider

PICTURE = base64.b64encode(os.urandom(20_000_000)).decode()


@pytest.fixture(scope="module", autouse=True)
def proxies(gateway: Gateway) -> Iterator[None]:
    lanes = {
        "native": {},
        "request": {"params": {"temperature": 0}},
        "duplex": {"restore": {"[[A]]": "b"}},
    }
    gateway.apply(
        *(
            document("Proxy", f"large-{lane}", {"upstreams": [{"name": "provider"}], **more})
            for lane, more in lanes.items()
        )
    )
    yield
    for lane in lanes:
        gateway.api.delete(f"/api/v1/proxies/large-{lane}").raise_for_status()


def asking(size: int | None = None) -> bytes:
    picture = {"url": "data:image/png;base64," + PICTURE[:size]}
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": picture},
    ]
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    return json.dumps(body).encode()


@pytest.mark.parametrize("lane", ["native", "request", "duplex"])
def test_a_picture_of_20_mb(gateway: Gateway, provider: Provider, lane: str) -> None:
    way = f"/p/large-{lane}/v1/chat/completions"
    headers = {"content-type": "application/json"}
    response = gateway.caller.post(way, content=asking(), headers=headers)
    assert response.status_code == 200, response.text[:500]
    received = provider.by_request_id(response.headers["x-request-id"])
    (message,) = received.body["messages"]
    assert message["content"][1]["image_url"]["url"].endswith(PICTURE[-1000:])
    assert len(message["content"][1]["image_url"]["url"]) == len(PICTURE) + 22
    provider.received.remove(received)


@pytest.mark.parametrize("lane", ["request", "duplex"])
def test_above_the_limit(gateway: Gateway, lane: str) -> None:
    body = b"[" + b" " * (32 << 20) + b"]"
    headers = {"content-type": "application/json"}
    way = f"/p/large-{lane}/v1/chat/completions"
    response = gateway.caller.post(way, content=body, headers=headers)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"
    assert "32 MiB" in response.json()["error"]["message"]
