"""What is known of every node and revision. Section "ACK and NACK semantics summary"."""

from __future__ import annotations

from control_plane.compile.model import CLUSTER, PLAN
from control_plane.xds.core import Core
from control_plane.xds.ledger import MAX_ABSENT, WORKERS, NodeRevision
from tests.unit.control_plane.xds._clients import EnvoyClient, WorkerClient, proxies


def core_with(*wirings: str) -> Core:
    core = Core(linger=0, patience=10)
    core.set_target(proxies(1, *wirings), 0)
    return core


def test_a_revision_without_nodes_is_pending() -> None:
    assert core_with("a").ledger.status(1).state == "pending"


def test_a_revision_is_applied_when_every_node_has_it() -> None:
    core = core_with("a")
    envoy, worker = EnvoyClient(core, "envoy", "delta"), WorkerClient(core, "worker", "delta")
    envoy.drain()
    status = core.ledger.status(1)
    assert (status.state, status.nodes["envoy"].state) == ("pending", "applied")
    assert status.nodes["worker"] == NodeRevision("pending", "waiting for Plan, Secret")
    worker.drain()
    assert core.ledger.status(1).state == "applied"
    assert core.ledger.status(2).state == "pending", "nobody has heard of it"


def test_a_node_is_not_ahead_of_the_routes() -> None:
    core = core_with("a")
    envoy, worker = EnvoyClient(core, "envoy", "sotw"), WorkerClient(core, "worker", "delta")
    envoy.drain()
    worker.drain()
    core.set_target(proxies(2, "b"), 0)
    worker.drain()
    assert core.ledger.status(2).nodes["worker"] == NodeRevision(
        "pending", "waiting for the other nodes"
    )
    envoy.drain()
    worker.drain()
    assert core.ledger.status(2).state == "applied"


def test_a_refusal_is_kept_in_the_nodes_own_words() -> None:
    core = core_with("a")
    envoy, worker = EnvoyClient(core, "envoy", "delta"), WorkerClient(core, "worker", "delta")
    envoy.drain()
    worker.drain()
    core.set_target(proxies(5, "b", bad=["b"]), 0)
    worker.drain()
    envoy.deliver()
    envoy.answer()
    status = core.ledger.status(5)
    assert status.state == "rejected"
    assert status.nodes["envoy"] == NodeRevision("rejected", "b is bad")
    assert status.nodes["worker"] == NodeRevision("pending", "withdrawn: another node refused it")
    (shown, _) = core.ledger.nodes()
    assert (shown.types[CLUSTER].error, shown.applied_revision) == ("b is bad", 1)
    assert core.ledger.status(3).state == "rejected", "it was carried by the refused one"
    assert core.ledger.status(1).state == "applied"
    envoy.drain()
    worker.drain()
    core.set_target(proxies(6, "c"), 0)
    for client in (envoy, worker, envoy, worker):
        client.drain()
    assert core.ledger.status(6).state == "applied"
    assert core.ledger.status(5).nodes["envoy"].detail == "b is bad", "history does not change"
    assert core.ledger.nodes()[0].types[CLUSTER].error == ""
    envoy.leave()
    assert core.ledger.status(5).nodes["envoy"].detail == "b is bad", "nor when the node goes"


def test_a_revision_tried_again_gets_a_new_verdict() -> None:
    core = core_with("a")
    envoy = EnvoyClient(core, "envoy", "delta")
    envoy.drain()
    core.set_target(proxies(2, "b", bad=["b"]), 0)
    envoy.drain()
    assert core.ledger.status(2).state == "rejected"
    core.set_target(proxies(2, "b"), 0)
    envoy.drain()
    assert core.ledger.status(2).state == "applied"


def test_types_show_version_and_whether_an_answer_is_missing() -> None:
    core = core_with("a")
    worker = WorkerClient(core, "worker", "delta")
    worker.drain()
    core.set_target(proxies(2, "a", edit="new"), 0)
    assert core.ledger.nodes()[0].types[PLAN].pending
    worker.drain()
    (node,) = core.ledger.nodes()
    assert not node.types[PLAN].pending
    assert node.types[PLAN].version


def test_two_streams_of_one_node_are_one_node() -> None:
    """An Envoy reconnects before its old stream has died: it has what both have."""
    core = core_with("a")
    old = EnvoyClient(core, "envoy", "delta")
    old.drain()
    new = EnvoyClient(core, "envoy", "delta")
    (node,) = core.ledger.nodes()
    assert node.applied_revision == 0
    assert core.ledger.status(1).state == "pending"
    new.drain()
    assert core.ledger.status(1).state == "applied"
    old.leave()
    assert core.ledger.nodes()[0].connected


def test_a_node_that_has_gone_is_remembered_but_not_waited_for() -> None:
    core = core_with("a")
    envoy, other = EnvoyClient(core, "envoy", "delta"), EnvoyClient(core, "other", "delta")
    envoy.drain()
    other.drain()
    envoy.leave()
    (node, _) = core.ledger.nodes()
    assert (node.id, node.connected, node.applied_revision) == ("envoy", False, 1)
    assert not node.types[CLUSTER].pending
    assert set(core.ledger.status(1).nodes) == {"other"}


def test_the_memory_of_absent_nodes_is_bounded() -> None:
    core = core_with("a")
    for i in range(MAX_ABSENT + 10):
        WorkerClient(core, f"pod-{i}", "delta").leave()
    assert len(core.ledger.nodes()) <= MAX_ABSENT + 1


def test_a_revision_that_is_tried_again_counts_once_its_routes_have_moved() -> None:
    """The same revision with more of it than before: what the nodes have of it is not all."""
    core = core_with("a")
    envoy, worker = EnvoyClient(core, "envoy", "delta"), WorkerClient(core, "worker", "delta")
    for client in (envoy, worker):
        client.drain()
    core.set_target(proxies(3, "a", "b"), 0)
    for client in (envoy, worker, envoy, worker):
        client.drain()
    assert core.ledger.status(3).state == core.ledger.status(2).state == "applied"
    core.set_target(proxies(3, "a", "b", "c"), 0)
    worker.drain()
    assert core.ledger.status(3).state == core.ledger.status(2).state == "pending"
    assert core.ledger.status(1).state == "applied"
    assert core.ledger.nodes()[0].applied_revision == 1
    envoy.drain()
    worker.drain()
    assert core.ledger.status(3).state == "applied"


def test_two_refusals_of_a_revision_are_judged_one_by_one() -> None:
    core = core_with("a")
    envoy = EnvoyClient(core, "envoy", "delta")
    envoy.drain()
    core.set_target(proxies(2, "b", bad=["b"]), 0)
    envoy.drain()
    core.ledger.examine(2)
    core.ledger.examine(2)
    core.ledger.judge(2, isolated=True)
    assert core.ledger.status(2).state == "pending"
    core.ledger.judge(2, isolated=False)
    assert core.ledger.status(2).state == "rejected"


def test_what_only_workers_have_is_not_live() -> None:
    """Nobody would serve a call with it: an Envoy must have it, too."""
    core = core_with("a")
    worker = WorkerClient(core, "worker", "delta", cluster=WORKERS)
    worker.drain()
    status = core.ledger.status(1)
    assert (status.state, status.nodes["worker"].state) == ("pending", "applied")
    envoy = EnvoyClient(core, "envoy", "delta")
    envoy.drain()
    worker.drain()
    assert core.ledger.status(1).state == "applied"
