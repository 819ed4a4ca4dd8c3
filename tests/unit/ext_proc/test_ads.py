from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from ext_proc.ads import MAX_DETAIL, PLAN, SECRET, DeltaClient
from ext_proc.errors import PlanRejected
from tests.unit.ext_proc.ads_server import delta
from tests.unit.ext_proc.make import CANARY


class Sink:
    """Keeps what it is given; refuses what is called "bad", breaks at "broken"."""

    def __init__(self) -> None:
        self.resources: dict[str, bytes] = {}

    def __call__(self, updates: Mapping[str, bytes], removed: Collection[str]) -> None:
        if "bad" in updates:
            raise PlanRejected("plan bad: no good" + "!" * MAX_DETAIL)
        if "broken" in updates:
            raise KeyError(CANARY)
        self.resources.update(updates)
        for name in removed:
            self.resources.pop(name, None)


@pytest.fixture
def plans() -> Sink:
    return Sink()


@pytest.fixture
def client(plans: Sink) -> DeltaClient:
    return DeltaClient("worker-1", {SECRET: Sink(), PLAN: plans})


def test_subscribes_to_everything_and_says_who_it_is_once(client: DeltaClient) -> None:
    first, second = client.connected()
    assert (first.type_url, second.type_url) == (SECRET, PLAN)
    assert (first.node.id, first.node.cluster) == ("worker-1", "ext_proc")
    assert not second.HasField("node")
    for request in (first, second):
        assert not request.resource_names_subscribe  # wildcard
        assert not request.initial_resource_versions
        assert not request.response_nonce


def test_acknowledges_by_nonce(client: DeltaClient, plans: Sink) -> None:
    answer = client.receive(delta(PLAN, "7", {"a": b"1", "b": b"2"}))
    assert (answer.type_url, answer.response_nonce) == (PLAN, "7")
    assert not answer.HasField("error_detail")
    client.receive(delta(PLAN, "8", {"a": b"3"}, removed=("b", "never there")))
    assert plans.resources == {"a": b"3"}


def test_refuses_with_the_reason_and_keeps_the_old(client: DeltaClient, plans: Sink) -> None:
    client.receive(delta(PLAN, "1", {"a": b"1"}))
    answer = client.receive(delta(PLAN, "2", {"a": b"2", "bad": b""}, removed=("a",)))
    assert answer.response_nonce == "2"
    assert answer.error_detail.code == 3
    assert answer.error_detail.message.startswith("plan bad: no good")
    assert len(answer.error_detail.message) == MAX_DETAIL
    assert plans.resources == {"a": b"1"}
    assert dict(client.connected()[1].initial_resource_versions) == {"a": "v-1"}


def test_a_fault_of_ours_is_a_refusal_without_details(client: DeltaClient) -> None:
    answer = client.receive(delta(PLAN, "1", {"broken": b""}))
    assert answer.error_detail.message == "this worker failed: KeyError"


def test_a_new_stream_says_what_is_known(client: DeltaClient) -> None:
    client.receive(delta(PLAN, "1", {"a": b"1", "b": b"2"}))
    client.receive(delta(SECRET, "2", {"s": b"x"}))
    client.receive(delta(PLAN, "3", {"a": b"3"}, removed=("b",)))
    secrets, plans = client.connected()
    assert dict(secrets.initial_resource_versions) == {"s": "v-2"}
    assert dict(plans.initial_resource_versions) == {"a": "v-3"}


def test_is_synced_once_every_type_has_been_accepted(client: DeltaClient) -> None:
    client.receive(delta(SECRET, "1", {}))
    client.receive(delta(PLAN, "2", {"bad": b""}))
    assert not client.synced
    client.receive(delta(PLAN, "3", {}))
    assert client.synced


def test_types_that_nobody_asked_for(client: DeltaClient, plans: Sink) -> None:
    answer = client.receive(DeltaDiscoveryResponse(type_url="other", nonce="1"))
    assert "not subscribed" in answer.error_detail.message
    mixed = delta(PLAN, "2", {"a": b"1"})
    mixed.resources[0].resource.type_url = SECRET
    assert f"a is a {SECRET}" in client.receive(mixed).error_detail.message
    assert plans.resources == {}


def test_a_resource_without_a_body_changes_nothing(client: DeltaClient, plans: Sink) -> None:
    client.receive(delta(PLAN, "1", {"a": b"1"}))
    heartbeat = DeltaDiscoveryResponse(type_url=PLAN, nonce="2")
    heartbeat.resources.add(name="a", version="v-2")
    assert not client.receive(heartbeat).HasField("error_detail")
    assert plans.resources == {"a": b"1"}
    assert dict(client.connected()[1].initial_resource_versions) == {"a": "v-1"}
