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


def test_a_proxy_that_is_set_aside_says_so_at_every_way_in(gateway: Gateway, refused: int) -> None:
    chat = {"model": "refused", "messages": [{"role": "user", "content": "hello"}]}
    answers = [
        gateway.run("refused", GOOD),
        gateway.caller.post("/p/refused/v1/chat/completions", json=chat),
        gateway.caller.post("/v1/chat/completions", json=chat),
    ]
    for answer in answers:
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (503, "proxy_rejected")
        assert error["type"] == "server_error"
    listed = [each["id"] for each in gateway.caller.get("/v1/models").json()["data"]]
    assert "refused" not in listed
    missing = gateway.run("refusedx", GOOD)
    assert missing.json()["error"]["code"] == "proxy_not_found"


def test_mending_it_makes_it_live(gateway: Gateway, provider: Provider, refused: int) -> None:
    spec = {"dialect": "openai", "url": provider.url, "credential": "provider-key"}
    gateway.apply(document("Upstream", "refused", spec))
    assert gateway.run("refused", GOOD).status_code == 200
    status = gateway.api.get("/api/v1/status").json()
    assert all(node["connected"] for node in status["nodes"])


def test_everything_else_goes_live_and_the_refused_one_is_sent_no_more(
    gateway: Gateway, provider: Provider, refused: int
) -> None:
    counter = "cluster_manager.cds.update_rejected"
    before = gateway.envoy_counters()[counter]
    for number in range(3):
        spec = {"upstreams": [{"name": "provider", "model": "m"}], "template": "menu-copy"}
        response = gateway.apply_any(document("Proxy", f"beside-{number}", spec), wait="10s")
        assert response.status_code == 200, response.text
        assert gateway.run(f"beside-{number}", GOOD).status_code == 200
    assert gateway.envoy_counters()[counter] == before
    status = gateway.api.get("/api/v1/status").json()
    assert {each["resource"] for each in status["set_aside"]} == {
        "upstreams/refused",
        "proxies/refused",
    }
    for number in range(3):
        gateway.api.delete(f"/api/v1/proxies/beside-{number}")


def test_in_one_apply_the_good_ones_go_live_and_the_bad_one_is_named(
    gateway: Gateway, provider: Provider, refused: int
) -> None:
    """The last good version of what is edited into something bad goes on serving."""
    good = {"dialect": "openai", "url": provider.url, "credential": "provider-key"}
    bad = {"dialect": "openai", "url": "https://127.0.0.1:1/v1", "tls": {"ca": NOT_A_CERTIFICATE}}
    use = {"upstreams": [{"name": "edited", "model": "m"}], "template": "menu-copy"}
    gateway.apply(document("Upstream", "edited", good), document("Proxy", "edited", use))
    before = gateway.run("edited", GOOD)
    response = gateway.apply_any(
        document("Upstream", "edited", bad),
        document("Upstream", "fresh", good),
        document("Proxy", "fresh", {**use, "upstreams": [{"name": "fresh", "model": "m"}]}),
    )
    assert response.status_code == 422
    problems = {problem["field"]: problem for problem in response.json()["error"]["problems"]}
    assert problems.keys() == {"upstreams/edited", "proxies/edited"}
    assert "certificate" in problems["upstreams/edited"]["message"].lower()
    assert "last good version" in problems["proxies/edited"]["message"]
    assert gateway.run("fresh", GOOD).status_code == 200
    still = gateway.run("edited", GOOD)
    assert still.status_code == 200
    assert still.headers["x-naru-plan"] == before.headers["x-naru-plan"]
    gateway.apply(document("Upstream", "edited", {**good, "connections": {"maxPending": 9}}))
    assert gateway.run("edited", GOOD).status_code == 200
    named = {each["resource"] for each in gateway.api.get("/api/v1/status").json()["set_aside"]}
    assert not named & {"upstreams/edited", "proxies/edited"}
    for plural in ("proxies", "upstreams"):
        for name in ("edited", "fresh"):
            gateway.api.delete(f"/api/v1/{plural}/{name}")
