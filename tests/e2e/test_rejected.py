"""What Envoy refuses is shown with Envoy's words, and the last good configuration stays live."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateway import Gateway, document
from tests.support.provider import Provider

GOOD = {"dish": "bibimbap", "mood": "warm"}
NOT_A_CERTIFICATE = (
    "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"
)


@pytest.fixture
def refused(gateway: Gateway) -> Iterator[int]:
    """The revision of an upstream that Envoy refuses, and a proxy that uses it."""
    spec = {
        "dialect": "openai",
        "url": "https://127.0.0.1:1/v1",
        "tls": {"ca": NOT_A_CERTIFICATE},
    }
    choice = {"name": "refused", "model": "m"}
    response = gateway.apply_any(
        document("Upstream", "refused", spec),
        document("Proxy", "refused", {"upstreams": [choice], "template": "menu-copy"}),
    )
    assert response.status_code == 422, response.text
    assert response.json()["error"]["code"] == "rejected_by_node"
    assert "certificate" in response.text.lower()  # Envoy's own words
    yield gateway.api.get("/api/v1/proxies/refused").json()["metadata"]["revision"]
    gateway.api.delete("/api/v1/proxies/refused")
    response = gateway.api.delete("/api/v1/upstreams/refused", params={"wait": "20s"})
    assert response.status_code == 200, response.text


def test_the_revision_says_rejected_with_envoys_words(gateway: Gateway, refused: int) -> None:
    status = gateway.api.get(f"/api/v1/revisions/{refused}").json()
    assert status["state"] == "rejected"
    (envoy,) = [node for node in status["nodes"].values() if node["state"] == "rejected"]
    assert "certificate" in envoy["detail"].lower()


def test_the_last_good_configuration_stays_live(
    gateway: Gateway, provider: Provider, refused: int
) -> None:
    assert gateway.run("menu-copy", GOOD).status_code == 200
    assert gateway.run("refused", GOOD).json()["error"]["code"] == "proxy_not_found"


def test_mending_it_makes_it_live(gateway: Gateway, provider: Provider, refused: int) -> None:
    spec = {"dialect": "openai", "url": provider.url, "credential": "provider-key"}
    gateway.apply(document("Upstream", "refused", spec))
    assert gateway.run("refused", GOOD).status_code == 200
    status = gateway.api.get("/api/v1/status").json()
    assert all(node["connected"] for node in status["nodes"])


def test_a_refused_resource_is_not_sent_again_and_again(gateway: Gateway, refused: int) -> None:
    counter = "cluster_manager.cds.update_rejected"
    before = gateway.envoy_counters()[counter]
    edit = document("Template", "unrelated", {"messages": [{"role": "user", "content": "x"}]})
    held_up = gateway.apply_any(edit, wait="2s")
    assert held_up.status_code == 422, "a refused resource holds up what comes after it, visibly"
    assert gateway.run("menu-copy", GOOD).status_code == 200
    assert gateway.envoy_counters()[counter] <= before + 1
    gateway.api.delete("/api/v1/templates/unrelated")
