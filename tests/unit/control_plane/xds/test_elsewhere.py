"""The gate across replicas: who is waited for, and who is not."""

from __future__ import annotations

import pytest

from control_plane.compile.model import PLAN, ROUTE
from control_plane.xds.core import Core
from control_plane.xds.elsewhere import Elsewhere, Move
from control_plane.xds.report import Report
from tests.unit.control_plane.xds._clients import ROUTES, EnvoyClient, WorkerClient, proxies

PATIENCE = 5.0


def report(added: int, *, routed: bool = True, silent: bool = False, turn: int = 1) -> Report:
    return Report("far", "two", added=added, turn=turn, routed=routed, silent=silent, applied=added)


@pytest.mark.parametrize(
    ("heard", "adding", "routing"),
    [
        (report(1), True, True),
        (report(2, routed=False), False, True),
        (report(2), False, False),
        (report(2, turn=2), True, False),  # ahead: perhaps without what this move names
        (report(3, routed=False), True, False),
        (report(1, silent=True), False, False),
    ],
)
def test_who_is_waited_for(heard: Report, adding: bool, routing: bool) -> None:
    elsewhere = Elsewhere()
    elsewhere.hear("far", heard)
    elsewhere.enter("adding", Move(2))
    assert elsewhere.waited_for is adding
    elsewhere.enter("routing", Move(2))
    assert elsewhere.waited_for is routing
    elsewhere.enter("settled", Move(2))
    assert not elsewhere.waited_for


def test_one_that_does_not_follow_is_waited_for_once() -> None:
    elsewhere = Elsewhere()
    elsewhere.hear("far", report(1))
    elsewhere.enter("adding", Move(2))
    elsewhere.give_up()
    elsewhere.enter("adding", Move(3))
    assert not elsewhere.waited_for
    elsewhere.hear("far", report(3))
    elsewhere.enter("adding", Move(4))
    assert elsewhere.waited_for


def routes(core: Core) -> str:
    return core.serving.tables[ROUTE].resources[ROUTES].body.decode()


def moving() -> tuple[Core, EnvoyClient]:
    """An Envoy has all that revision 2 needs; a worker elsewhere has revision 1."""
    core = Core(linger=30, patience=PATIENCE, replica="one")
    core.hear({"far": report(1)}, 0, complete=True)
    core.set_target(proxies(1, "a"), 0)
    envoy = EnvoyClient(core, "envoy", "delta")
    envoy.drain()
    core.set_target(proxies(2, "b"), 0)
    envoy.drain()
    return core, envoy


def test_routes_wait_for_a_worker_elsewhere() -> None:
    core, envoy = moving()
    assert routes(core) == "a"
    core.hear({"far": report(2, routed=False)}, 1, complete=True)
    envoy.drain()
    assert envoy.needs() == {"b"}
    assert core.ledger.status(2).nodes["far"].state == "applied"


def test_patience_ends() -> None:
    core, envoy = moving()
    assert core.deadline == PATIENCE
    core.tick(PATIENCE)
    envoy.drain()
    assert envoy.needs() == {"b"}
    assert core.ledger.status(2).state == "pending", "nobody has heard of it from there"


def test_one_that_is_gone_is_not_waited_for() -> None:
    core, envoy = moving()
    core.hear({"far": None}, 1, complete=True)
    envoy.drain()
    assert envoy.needs() == {"b"}
    assert core.ledger.status(2).state == "applied"


def test_a_refusal_elsewhere_is_one_here() -> None:
    core, envoy = moving()
    refused = Report("far", "two", added=1, routed=True, rejects=2, words={2: "b is bad"})
    core.hear({"far": refused}, 1, complete=True)
    envoy.drain()
    status = core.ledger.status(2)
    assert (status.state, status.nodes["far"].detail) == ("rejected", "b is bad")
    assert (routes(core), core.serving.revision) == ("a", 1)


def test_what_an_envoy_elsewhere_uses_is_kept() -> None:
    core = Core(linger=30, patience=PATIENCE, replica="one")
    worker = WorkerClient(core, "worker", "delta")
    core.set_target(proxies(1, "a"), 0)
    worker.drain()
    slow = Report("far", "two", added=1, routed=True, holds=frozenset({1}), silent=True)
    core.hear({"far": slow}, 0, complete=True)
    core.set_target(proxies(2, "b"), 0)
    worker.drain()
    core.tick(1000)
    assert core.serving.tables[PLAN].resources.keys() == {"a", "b"}
    core.hear({"far": report(2)}, 1000, complete=True)
    core.tick(1031)
    assert core.serving.tables[PLAN].resources.keys() == {"b"}


def test_nothing_is_certain_before_the_reports_have_come() -> None:
    core = Core(linger=30, patience=PATIENCE, replica="one")
    core.expect_reports()
    core.set_target(proxies(1, "a"), 0)
    worker = WorkerClient(core, "worker", "delta")
    worker.drain()
    assert ROUTE not in core.serving.tables
    core.hear({}, 1, complete=True)
    assert routes(core) == "a"
    assert core.ledger.status(1).state == "applied"


def test_what_a_client_brings_along_is_not_taken_from_it_at_once() -> None:
    """Another replica may serve it, and an Envoy there use it."""
    core = Core(linger=30, patience=PATIENCE)
    core.set_target(proxies(1, "a"), 0)
    worker = WorkerClient(core, "worker", "delta")
    worker.drain()
    fresh = Core(linger=30, patience=PATIENCE)
    fresh.set_target(proxies(2, "b"), 0)
    worker.core = fresh
    worker.join()
    worker.drain()
    assert worker.names(PLAN) == {"a", "b"}
    assert fresh.ledger.status(2).state == "applied"
    assert fresh.deadline == 30
    fresh.tick(30)
    worker.drain()
    assert worker.names(PLAN) == {"b"}
