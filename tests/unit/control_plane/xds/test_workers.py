"""The workers beside an Envoy, as its endpoints. Field "health_status" of `LbEndpoint`."""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import Node as NodeMessage
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from control_plane.compile.model import ENDPOINT
from control_plane.xds.core import Core
from control_plane.xds.messages import read, require_node
from control_plane.xds.report import Report
from control_plane.xds.stream import Node, Worker
from tests.unit.control_plane.xds._clients import EnvoyClient, WorkerClient, proxies

NAME = "ext_proc@edge"
PATIENCE = 5.0


class Edge(EnvoyClient):
    """An Envoy that has workers beside it, and asks for them first."""

    def __init__(self, core: Core, *workers: str) -> None:
        super().__init__(core, "edge", "delta")
        self.leave()
        self.node = Node("edge", workers=tuple(Worker(name, f"/{name}") for name in workers))
        self.join()

    def begin(self) -> None:
        self.ask(ENDPOINT, NAME)
        super().begin()

    def _follow_clusters(self) -> None:
        self.ask(ENDPOINT, NAME, *self.names("type.googleapis.com/envoy.config.cluster.v3.Cluster"))

    def health(self) -> dict[str, str]:
        found = ClusterLoadAssignment.FromString(self.cache[ENDPOINT][NAME].body)
        return {
            each.endpoint.address.pipe.path: "bad" if each.health_status == 2 else "good"
            for each in found.endpoints[0].lb_endpoints
        }


def started() -> tuple[Core, Edge, WorkerClient]:
    core = Core(linger=30, patience=PATIENCE)
    core.set_target(proxies(1, "a"), 0)
    edge, worker = Edge(core, "w", "x"), WorkerClient(core, "w", "delta")
    worker.drain()
    edge.drain()
    return core, edge, worker


def silent() -> tuple[Core, Edge, WorkerClient]:
    core, edge, worker = started()
    core.set_target(proxies(2, "a", edit="new"), 10)
    worker.deliver()
    edge.now = worker.now = 10 + PATIENCE
    core.tick(10 + PATIENCE)
    edge.drain()
    return core, edge, worker


def test_all_are_healthy_at_first_though_not_connected() -> None:
    _, edge, _ = started()
    assert edge.health() == {"/w": "good", "/x": "good"}


def test_one_that_does_not_answer_is_not() -> None:
    core, edge, worker = silent()
    assert edge.health() == {"/w": "bad", "/x": "good"}
    assert "does not answer" in core.ledger.status(2).nodes["w"].detail
    worker.answer()
    worker.drain()
    edge.drain()
    assert edge.health() == {"/w": "good", "/x": "good"}


def test_one_that_left_in_silence_is_not_until_it_is_back_with_all() -> None:
    _, edge, worker = silent()
    worker.leave()
    edge.drain()
    assert edge.health()["/w"] == "bad"
    worker.join()
    edge.drain()
    assert edge.health()["/w"] == "bad"
    worker.drain()
    edge.drain()
    assert edge.health()["/w"] == "good"


def test_one_that_leaves_otherwise_stays_healthy() -> None:
    _, edge, worker = started()
    worker.leave()
    edge.drain()
    assert edge.health()["/w"] == "good"


def test_one_elsewhere_is_as_silent_as_it_is_reported() -> None:
    core, edge, _ = started()
    core.hear({"x": Report("x", "two", added=1, silent=True)}, 1, complete=True)
    edge.drain()
    assert edge.health() == {"/w": "good", "/x": "bad"}
    core.hear({"x": None}, 1, complete=True)
    edge.drain()
    assert edge.health()["/x"] == "bad", "it was silent when it left"
    core.hear({"x": Report("x", "two", added=1)}, 1, complete=True)
    edge.drain()
    assert edge.health()["/x"] == "good"


def test_an_envoy_that_leaves_takes_its_endpoints_along() -> None:
    core, edge, _ = started()
    edge.leave()
    assert NAME not in core.serving.tables[ENDPOINT].resources


def test_a_second_stream_of_its_id_leads_an_envoy_nowhere_else() -> None:
    core, edge, _ = started()
    other = Edge(core, "evil")
    edge.drain()
    assert edge.health().keys() == {"/w", "/x"}
    other.leave()
    edge.drain()
    assert edge.health().keys() == {"/w", "/x"}


def test_a_stream_that_remains_has_its_own_workers() -> None:
    core, edge, _ = started()
    again = Edge(core, "y")
    edge.leave()
    again.drain()
    assert again.health().keys() == {"/y"}


def test_an_envoy_that_comes_again_in_time_keeps_its_endpoints() -> None:
    core, edge, _ = started()
    again = Edge(core, "w", "x")
    edge.leave()
    again.drain()
    assert again.health().keys() == {"/w", "/x"}


def test_an_envoy_that_says_nothing_of_workers_gets_none() -> None:
    core = Core(linger=30, patience=PATIENCE)
    core.set_target(proxies(1, "a"), 0)
    EnvoyClient(core, "plain", "delta").drain()
    assert core.serving.tables[ENDPOINT].resources.keys() == {"a"}


def test_workers_are_read_from_the_metadata() -> None:
    node = NodeMessage(id="edge")
    worker = {"id": "w", "path": "/w"}
    node.metadata.update({"naru": {"ext_proc": [worker, {"id": "no path"}, 3]}})
    request = DeltaDiscoveryRequest(node=node, type_url=ENDPOINT)
    found = require_node(read("delta", request.SerializeToString()))
    assert found.workers == (Worker("w", "/w"),)
    node.ClearField("metadata")
    request = DeltaDiscoveryRequest(node=node, type_url=ENDPOINT)
    assert require_node(read("delta", request.SerializeToString())).workers is None
