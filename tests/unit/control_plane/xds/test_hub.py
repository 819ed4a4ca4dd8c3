"""`hub`: those who wait, without sockets. `test_server.py` has the rest."""

from __future__ import annotations

import asyncio

import pytest

from control_plane.compile.model import PLAN
from control_plane.xds import Hub
from control_plane.xds.delta import DeltaRequest
from control_plane.xds.hub import LOOK
from control_plane.xds.ledger import State
from control_plane.xds.stream import Node, Stream, Worker
from tests.unit.control_plane.xds._clients import resource, target

pytestmark = pytest.mark.anyio
NODES = 100


def subscribed(hub: Hub, name: str) -> int:
    number = hub.join(Stream(Node(name), "delta", lambda: None))
    hub.request(number, PLAN, DeltaRequest(subscribe=frozenset("*")))
    return number


async def test_those_who_wait_do_not_look_at_every_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look goes through all nodes: at every answer it would be the square of the fleet."""
    hub, loop = Hub(), asyncio.get_running_loop()
    numbers = [subscribed(hub, f"node-{number}") for number in range(NODES)]
    hub.set_target(target(1, resource(PLAN, "a", "1")))
    looks, state = [], hub.ledger.state

    def look(revision: int) -> State:
        looks.append(revision)
        return state(revision)

    monkeypatch.setattr(hub.ledger, "state", look)
    waiting, start = asyncio.create_task(hub.wait(1, 10)), loop.time()
    for number in numbers:
        await asyncio.sleep(0)
        response = hub.next(number)
        assert response is not None
        hub.request(number, PLAN, DeltaRequest(nonce=response.nonce))
    assert (await waiting).state == "applied"
    # At the beginning, at once, then in turn; and for the status itself.
    assert len(looks) <= 3 + (loop.time() - start) / LOOK


@pytest.mark.parametrize("path", ["/run/one.sock", "/run/other.sock", None])
async def test_a_second_node_of_one_id_is_told_of(
    path: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """An Envoy that comes back before its old stream has died has the same workers."""
    hub = Hub()
    for socket in ("/run/one.sock", path):
        workers = None if socket is None else (Worker("worker", socket),)
        hub.join(Stream(Node("gate\nway", workers=workers), "delta", lambda: None))
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (path != "/run/one.sock")
    assert all(r"two nodes have the id 'gate\nway'" in each for each in told)
