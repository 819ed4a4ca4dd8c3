"""The move from one revision to the next, step by step, without any stream.

Section "Eventual consistency considerations" of the xDS document, and what Naru adds to it.
"""

from __future__ import annotations

from control_plane.compile.model import CLUSTER, LISTENER, PLAN, ROUTE, Compiled
from control_plane.xds.serving import Serving
from control_plane.xds.stream import Progress
from control_plane.xds.switch import Switch
from tests.unit.control_plane.xds._clients import ROUTES, proxies

ENVOY, WORKER = 1, 2


class Play:
    """A switch, and clients that follow only when they are told to."""

    def __init__(self, *, linger: float = 90, patience: float = 10) -> None:
        self.switch = Switch(linger=linger, patience=patience)
        self.now = 0.0
        self.generation: dict[int, int | None] = {}
        self.behind: set[int] = set()  # those that have not answered the additive types

    def to(self, target: Compiled) -> None:
        self.switch.set_target(target)
        self.run()

    def run(self, seconds: float = 0.0) -> None:
        """Time goes on, and everything that is due happens; no client does anything."""
        self.now += seconds
        while (serving := self.switch.advance(self.now)) is not None:
            if self.switch.phase == "adding":
                self.behind.update(self.generation)
            for stream in self.generation:
                self._observe(stream, serving)

    def join(self, stream: int) -> None:
        self.generation[stream] = None
        self.behind.add(stream)
        self._observe(stream, self.switch.serving)

    def leave(self, stream: int) -> None:
        del self.generation[stream]
        self.switch.leave(stream)
        self.run()

    def ack(self, *streams: int) -> None:
        """These answer all that is served now."""
        for stream in streams:
            if stream == ENVOY and self.switch.phase != "adding":
                self.generation[stream] = self.switch.serving.stamp.generation
            self.behind.discard(stream)
            self._observe(stream, self.switch.serving)
        self.run()

    def nack(self) -> bool:
        rejected = self.switch.refuse(self.switch.serving.stamp)
        self.run()
        return rejected

    def served(self, type_url: str = PLAN) -> set[str]:
        table = self.switch.serving.tables.get(type_url)
        return set(table.resources) if table else set()

    def routes(self) -> str:
        """What the served routes name."""
        table = self.switch.serving.tables.get(ROUTE)
        return table.resources[ROUTES].body.decode() if table else ""

    def _observe(self, stream: int, serving: Serving) -> None:
        generation = self.generation[stream]
        behind = stream in self.behind
        routes = stream == ENVOY and generation != serving.stamp.generation
        held = {generation} if generation is not None else set()
        if routes and not behind:
            held.add(serving.stamp.generation)  # sent, and not answered
        self.switch.observe(stream, Progress(behind, routes, frozenset(held), generation))


def settled(*wirings: str, linger: float = 90, streams: tuple[int, ...] = (ENVOY, WORKER)) -> Play:
    """A play in which everybody has accepted these wirings."""
    play = Play(linger=linger)
    for stream in streams:
        play.join(stream)
    play.to(proxies(1, *wirings))
    play.ack(*streams)
    play.ack(*streams)
    assert play.switch.phase == "settled"
    return play


def test_nothing_is_served_before_the_first_target() -> None:
    play = Play()
    play.run()
    assert not play.switch.serving.tables
    assert play.switch.deadline is None


def test_routes_wait_for_every_client() -> None:
    play = settled("a")
    play.to(proxies(2, "b"))
    assert (play.served(), play.routes()) == ({"a", "b"}, "a")
    play.ack(ENVOY)
    assert play.routes() == "a"
    play.ack(WORKER)
    assert play.routes() == "b"
    assert play.switch.serving.revision == 2
    assert play.served() == {"a", "b"}, "the Envoy may still use the old routes"


def test_what_nobody_names_lingers_and_goes() -> None:
    play = settled("a")
    play.to(proxies(2, "b"))
    play.ack(ENVOY, WORKER)
    play.run(1000)
    assert play.served(CLUSTER) == {"a", "b"}, "not acknowledged, so it may be in use"
    play.ack(ENVOY, WORKER)
    assert play.switch.deadline == play.now + 90
    play.run(89)
    assert play.served() == {"a", "b"}
    play.run(1)
    assert play.served() == play.served(CLUSTER) == {"b"}
    assert play.switch.deadline is None


def test_a_name_that_comes_back_does_not_go() -> None:
    play = settled("a")
    for revision, wiring in ((2, "b"), (3, "a")):
        play.to(proxies(revision, wiring))
        play.ack(ENVOY, WORKER)
        play.ack(ENVOY, WORKER)
    play.run(1000)
    assert play.served() == {"a"}


def test_an_edit_of_content_moves_no_routes() -> None:
    play = settled("a")
    before = play.switch.serving.tables
    play.to(proxies(2, "a", edit="new"))
    after = play.switch.serving.tables
    assert after[PLAN].changed_since(before[PLAN]) == {"a"}
    assert not after[ROUTE].changed_since(before[ROUTE])
    assert not after[LISTENER].changed_since(before[LISTENER])


def test_a_newer_target_waits_and_only_the_newest_is_kept() -> None:
    play = settled("a")
    play.to(proxies(2, "b"))
    play.to(proxies(3, "c"))
    play.to(proxies(4, "d"))
    assert play.served() == {"a", "b"}
    play.ack(ENVOY, WORKER)
    play.ack(ENVOY, WORKER)
    assert (play.served(), play.routes()) == ({"a", "b", "d"}, "b")
    assert play.switch.target.revision == 4


def test_a_nack_before_the_routes_move() -> None:
    play = settled("a")
    play.to(proxies(2, "b", edit="bad"))
    assert play.nack()
    assert (play.served(), play.routes()) == ({"a"}, "a")
    assert play.switch.target.revision == 1
    play.ack(ENVOY, WORKER)
    play.run(1000)
    assert (play.routes(), play.switch.phase) == ("a", "settled")


def test_a_nack_after_the_routes_moved_moves_them_back_the_same_way() -> None:
    play = settled("a")
    play.to(proxies(2, "b"))
    play.ack(ENVOY, WORKER)
    assert play.routes() == "b"
    assert play.nack()
    assert (play.served(), play.routes()) == ({"a", "b"}, "b")
    play.ack(ENVOY, WORKER)
    assert play.routes() == "a"
    play.ack(ENVOY, WORKER)
    assert play.served() == {"a"}, "what was refused does not linger"


def test_a_second_nack_rejects_nothing_more() -> None:
    play = settled("a")
    play.to(proxies(2, "b"))
    stamp = play.switch.serving.stamp
    assert play.switch.refuse(stamp)
    assert not play.switch.refuse(stamp)
    play.run()
    assert not play.switch.refuse(stamp), "it is over"
    assert not play.nack(), "the last good revision cannot be rejected"


def test_a_newer_target_ends_the_rejection() -> None:
    play = settled("a")
    play.to(proxies(2, "bad"))
    play.nack()
    play.to(proxies(3, "c"))
    play.ack(ENVOY, WORKER)
    play.ack(ENVOY, WORKER)
    assert play.served() == {"a", "c"}
    assert "bad" not in play.served()
    play.ack(ENVOY, WORKER)
    assert play.routes() == "c"


def test_what_everybody_uses_is_beyond_recall() -> None:
    play = settled("a")
    assert not play.nack()
    assert play.routes() == "a"


def test_a_silent_client_is_waited_for_once() -> None:
    play = settled("a")
    play.to(proxies(2, "b"))
    play.ack(ENVOY)
    assert play.switch.deadline == 10
    play.run(9.9)
    assert play.routes() == "a"
    play.run(0.1)
    assert play.routes() == "b"
    play.ack(ENVOY)
    play.to(proxies(3, "c"))
    play.ack(ENVOY)
    assert play.routes() == "c", "still silent, so not waited for again"
    play.ack(ENVOY, WORKER)
    play.to(proxies(4, "d"))
    play.ack(ENVOY)
    assert play.routes() == "c", "it has spoken, so it counts again"


def test_a_client_that_leaves_is_not_waited_for() -> None:
    play = settled("a")
    play.to(proxies(2, "b"))
    play.ack(ENVOY)
    play.leave(WORKER)
    assert play.routes() == "b"


def test_a_client_that_joins_is_waited_for() -> None:
    play = settled("a")
    play.to(proxies(2, "b"))
    play.join(3)
    play.ack(ENVOY, WORKER)
    assert play.routes() == "a"
    play.ack(3)
    assert play.routes() == "b"


def test_with_nobody_there_the_target_is_served_but_not_proven() -> None:
    play = Play()
    play.to(proxies(1, "a"))
    assert (play.routes(), play.switch.phase, play.switch.last_good) == ("a", "settled", None)


def test_what_nobody_could_refuse_can_be_refused_later() -> None:
    """An edit while the only Envoy restarts: it comes back, refuses, and gets the last good one."""
    play = settled("a", streams=(ENVOY,))
    play.leave(ENVOY)
    play.to(proxies(2, "b"))
    assert play.routes() == "b"
    play.join(ENVOY)
    assert play.nack()
    assert (play.served(), play.routes()) == ({"a"}, ""), "nobody uses these routes: withdrawn"
    play.ack(ENVOY)
    assert play.routes() == "a"


def test_the_first_target_refused_stays_as_far_as_it_came() -> None:
    """There is nothing to go back to; to take everything away would be worse."""
    play = Play()
    play.join(ENVOY)
    play.to(proxies(1, "a"))
    assert play.nack()
    assert (play.served(), play.routes()) == ({"a"}, "")
    play.to(proxies(2, "b"))
    assert play.served() == {"b"}


def test_a_type_once_served_stays_if_empty() -> None:
    """Else a client could not be told that its last resource is gone."""
    play = settled("a", linger=0)
    play.to(Compiled(2, {ROUTE: proxies(2).resources[ROUTE]}))
    for _ in range(3):
        play.ack(ENVOY, WORKER)
    assert play.switch.serving.tables[CLUSTER].resources == {}
    assert play.switch.serving.tables[LISTENER].resources == {}
