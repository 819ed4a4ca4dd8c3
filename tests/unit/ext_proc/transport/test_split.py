"""What arrives in pieces means what it means in one; and no order of things upsets the books."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ext_proc.transport.h2 import Code, Event, Limits, Message, Reset, Status
from tests.unit.ext_proc.transport import wire
from tests.unit.ext_proc.transport.peer import Peer
from tests.unit.ext_proc.transport.wire import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GREETING,
    HAS_PRIORITY,
    INITIAL_WINDOW,
    PADDED,
    Frame,
    Server,
    block,
    data,
    headers,
    message,
    ping,
    rst_stream,
    window_update,
)

LIMITS = {"message": 300, "buffered": 500, "stream_window": 65_535, "connection_window": 65_535}
CONVERSATION = b"".join(
    [
        GREETING,
        headers(1), data(1, message(b"one")[:3]), data(1, message(b"one")[3:], END_STREAM),
        bytes(Frame(wire.HEADERS, 0, 3, block("/long")[:4])),
        bytes(Frame(CONTINUATION, 0, 3, block("/long")[4:9])),
        bytes(Frame(CONTINUATION, END_HEADERS, 3, block("/long")[9:])),
        wire.settings((INITIAL_WINDOW, 7)), ping(b"12345678"), window_update(0, 9),
        data(3, b"\x02" + message(b"two") + b"\x00\x00", PADDED),
        headers(5, END_HEADERS | HAS_PRIORITY | END_STREAM, bytes(5) + block()), rst_stream(5),
        headers(7), data(7, message(bytes(301))), data(7, b"late"),
        bytes(Frame(77, 0, 0, b"unknown")), headers(9), window_update(9, 0), data(0, b"a fault"),
        headers(11),
    ]
)  # fmt: skip


def outcome(pieces: list[bytes]) -> tuple[list[Event], bytes]:
    """What a connection makes of them."""
    server = Server(b"", **LIMITS)
    events, said = [], b""
    for piece in pieces:
        events += server.take(piece)
        said += server.connection.outgoing()
    return events, said


def test_the_conversation_is_one() -> None:
    events, said = outcome([CONVERSATION])
    assert {type(event).__name__ for event in events} == {
        "Opened",
        "Message",
        "HalfClosed",
        "Reset",
    }
    assert [event.stream for event in events if isinstance(event, Reset)] == [5, 7, 9]
    assert (
        Frame(wire.GOAWAY, 0, 0, b"\x00\x00\x00\x09\x00\x00\x00\x01") == list(wire.parsed(said))[-1]
    )


def test_two_pieces_cut_at_every_place() -> None:
    whole = outcome([CONVERSATION])
    for at in range(len(CONVERSATION) + 1):
        assert outcome([CONVERSATION[:at], CONVERSATION[at:]]) == whole, at


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 10, 24, 25])
def test_pieces_of_one_size(size: int) -> None:
    pieces = [CONVERSATION[at : at + size] for at in range(0, len(CONVERSATION), size)]
    assert outcome(pieces) == outcome([CONVERSATION])


def test_a_frame_is_taken_with_its_last_byte() -> None:
    server = Server()
    for piece in (headers(1), data(1, message(b"a")), data(1, message(b"b")), headers(3)):
        for at in range(len(piece)):
            events = server.take(piece[at : at + 1])
            assert len(events) == (at == len(piece) - 1)


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/1.1\r\n", b"P", b""])
def test_a_bad_preface_in_pieces(begin: bytes) -> None:
    whole = outcome([begin])
    for at in range(len(begin) + 1):
        assert outcome([begin[:at], begin[at:]]) == whole, at


STREAMS = st.sampled_from([0, 1, 1, 2, 3, 3, 5, 5, 7])
FLAGS = st.sampled_from([0, END_STREAM, END_HEADERS, END_HEADERS, END_HEADERS | END_STREAM, PADDED])
PAYLOADS = st.one_of(
    st.sampled_from([b"", block(), block("/b"), message(b"m"), message(b"x", compressed=1), b"\x00\x00\x00\x01"]),
    st.binary(max_size=12),
    st.binary(min_size=8, max_size=8),
)  # fmt: skip
FRAMES = st.one_of(
    st.builds(headers, st.sampled_from([1, 3, 5, 7]), st.sampled_from([END_HEADERS, END_HEADERS | END_STREAM])),
    st.builds(data, st.sampled_from([1, 3, 5]), st.binary(max_size=20).map(message)),
    st.builds(lambda *parts: bytes(Frame(*parts)), st.integers(0, 10), FLAGS, STREAMS, PAYLOADS),
)  # fmt: skip


@st.composite
def cut(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    whole = b"".join([GREETING, *draw(st.lists(FRAMES, min_size=1, max_size=12))])
    places = draw(st.lists(st.integers(0, len(whole)), max_size=10))
    return whole, [whole[a:b] for a, b in pairwise([0, *sorted(places), len(whole)])]


@settings(max_examples=400, deadline=None)
@given(cut())
def test_any_frames_in_any_pieces(case: tuple[bytes, list[bytes]]) -> None:
    whole, pieces = case
    assert outcome(pieces) == outcome([whole])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=60), st.lists(FRAMES, max_size=8), st.randoms(use_true_random=False))
def test_no_bytes_raise(noise: bytes, frames: list[bytes], chance: random.Random) -> None:
    mutated = bytearray(b"".join([GREETING, *frames]))
    for _ in range(chance.randrange(4)):
        mutated[chance.randrange(len(mutated))] = chance.randrange(256)
    for sent in (noise, GREETING + noise, bytes(mutated) + noise):
        server = Server(b"", **LIMITS)
        for event in server.take(sent):
            server.connection.send(event.stream, b"an answer")
            server.connection.end(event.stream)
        server.take(noise)
        server.said()


# ---- the state machine

SIZES = st.sampled_from([0, 1, 5, 100, 1000, 5000])
WINDOWS = st.sampled_from([0, 1, 10, 1000, 65_535, 100_000])
PATHS = st.sampled_from(["/a.A/A", "/b.B/B", "/c.C/C", "/" + "d" * 200])
PICK = st.integers(0, 1000)


class Conversation(RuleBasedStateMachine):
    """The `h2` library calls; this is what both should then know."""

    def __init__(self) -> None:
        super().__init__()
        limits = Limits(
            message=4000, buffered=6000, queued=80_000, streams=10, stream_window=65_535,
            connection_window=65_535,
        )  # fmt: skip
        self.peer = Peer(limits, eager=False)
        self.called: dict[int, str] = {}
        self.sent: defaultdict[int, list[bytes]] = defaultdict(list)
        self.answered: defaultdict[int, bytes] = defaultdict(bytes)
        self.finished: dict[int, Status] = {}
        self.widest = 65_535
        self.chance = random.Random(1)

    @initialize(window=WINDOWS)
    def greet(self, window: int) -> None:
        self.peer.greet(initial_window_size=window)
        self.widest = max(self.widest, window)

    # the client

    def of_the_client(self, pick: int) -> int | None:
        alive = [stream for stream in self.called if not self.peer.closed(stream)]
        return alive[pick % len(alive)] if alive else None

    @precondition(lambda self: self.peer.client.open_outbound_streams < 10)
    @rule(path=PATHS, end=st.booleans(), size=SIZES, now=st.booleans())
    def open(self, path: str, end: bool, size: int, now: bool) -> None:
        stream = self.peer.open(path)
        self.called[stream] = path
        self.peer.send(stream, *self._messages(stream, size), end=end)
        if now:  # else little would ever be in the middle of something
            self.peer.quiet()

    @rule(pick=PICK, size=SIZES, end=st.sampled_from([False, False, True]))
    def send(self, pick: int, size: int, end: bool) -> None:
        stream = self.of_the_client(pick)
        if stream is None or not self._may_send(stream):
            return
        self.peer.send(stream, *self._messages(stream, size), end=end)

    def _may_send(self, stream: int) -> bool:
        if stream in self.peer.queues:
            return not self.peer.queues[stream][1]
        return self.peer.client.streams[stream].state_machine.state.name in (
            "OPEN", "HALF_CLOSED_REMOTE",
        )  # fmt: skip

    def _messages(self, stream: int, size: int) -> list[bytes]:
        if not size:
            return []
        self.sent[stream].append(self.chance.randbytes(size))
        return self.sent[stream][-1:]

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        stream = self.of_the_client(pick)
        if stream is not None:
            self.peer.reset(stream)

    @precondition(lambda self: not self.peer.unacknowledged)
    @rule(window=WINDOWS)
    def change_windows(self, window: int) -> None:
        self.peer.settings(initial_window_size=window)
        self.widest = max(self.widest, window)

    @precondition(lambda self: not self.peer.unacknowledged)
    @rule(size=st.sampled_from([16_384, 16_385, 100_000]))
    def change_frames(self, size: int) -> None:
        self.peer.settings(max_frame_size=size)

    @rule(pick=PICK, more=st.integers(1, 5000), now=st.booleans())
    def widen(self, pick: int, more: int, now: bool) -> None:
        stream = self.of_the_client(pick)
        if stream is not None:
            self.peer.client.increment_flow_control_window(more, stream)
        if now:
            self.peer.quiet()

    @rule(more=st.integers(1, 5000))
    def widen_the_connection(self, more: int) -> None:
        self.peer.client.increment_flow_control_window(more)

    # the server

    def of_the_server(self, pick: int) -> int | None:
        alive = sorted(self.peer.paths.keys() - self.finished.keys() - self.peer.gone)
        return alive[pick % len(alive)] if alive else None

    @rule(pick=PICK, size=SIZES)
    def answer(self, pick: int, size: int) -> None:
        stream = self.of_the_server(pick)
        if stream is None:
            return
        size = size or 70_000  # above the connection's window
        payload = self.chance.randbytes(size)
        self.answered[stream] += message(payload)
        if not self.peer.server.send(stream, payload):
            self.finished[stream] = Status.RESOURCE_EXHAUSTED

    @rule(pick=PICK, status=st.sampled_from([Status.OK, Status.ABORTED]))
    def finish(self, pick: int, status: Status) -> None:
        stream = self.of_the_server(pick)
        if stream is not None:
            self.peer.server.end(stream, status)
            self.finished[stream] = status

    @rule(pick=PICK)
    def drop(self, pick: int) -> None:
        stream = self.of_the_server(pick)
        if stream is not None:
            self.peer.server.reset(stream, Code.CANCEL)
            self.finished[stream] = Status.CANCELLED

    @precondition(lambda self: len(self.called) > 3)
    @rule()
    def drain(self) -> None:
        self.peer.server.drain()

    # the wire

    @rule(size=st.integers(1, 20_000))
    def to_server(self, size: int) -> None:
        self.peer.collect()
        self.peer.deliver_to_server(size)

    @rule(size=st.integers(1, 20_000))
    def to_client(self, size: int) -> None:
        self.peer.collect()
        self.peer.deliver_to_client(size)

    @rule()
    def all_of_it(self) -> None:
        self.peer.quiet()

    # what must hold

    @invariant()
    def nobody_is_at_fault(self) -> None:
        assert self.peer.server.fault is None

    @invariant()
    def windows(self) -> None:
        server = self.peer.server
        assert server._sender.window >= 0
        assert 0 <= server._receiver.window <= 65_535
        for stream in server._streams.open.values():
            assert stream.send_window >= server._sender.initial_window - self.widest
            assert 0 <= stream.receive_window <= 65_535

    @invariant()
    def the_books(self) -> None:
        server = self.peer.server
        streams = server._streams.open.values()
        assert server._streams.buffered == sum(len(stream.buffer) for stream in streams) <= 6000
        assert (
            server._sender.queued
            == sum(sum(map(len, stream.queue)) for stream in streams)
            <= 80_000
        )
        waiting = {s.identity for s in streams if s.queue and s.send_window > 0}
        assert server._sender._blocked.keys() == waiting
        assert not waiting or server._sender.window == 0

    @invariant()
    def nothing_is_mixed_up(self) -> None:
        for stream, path in self.peer.paths.items():
            assert path == self.called[stream]
            assert self.peer.got[stream] == self.sent[stream][: len(self.peer.got[stream])]
            assert self.answered[stream].startswith(bytes(self.peer.data[stream]))

    def teardown(self) -> None:
        peer = self.peer
        peer.quiet()
        peer.settings(initial_window_size=2**24)
        peer.client.increment_flow_control_window(2**28)
        peer.quiet()
        for stream, status in self.finished.items():
            if stream in peer.status:
                assert peer.status[stream] == b"%d" % status or stream in peer.gone
                if status is Status.OK and stream not in peer.gone:
                    assert bytes(peer.data[stream]) == self.answered[stream]
        for stream in self.called:
            peer.reset(stream)
        peer.quiet()
        self.nobody_is_at_fault()
        self.the_books()
        assert not peer.server._streams.open
        assert peer.server._streams.left.keys() <= peer.resets.keys()
        if peer.goaways:
            assert peer.server.drained


Conversation.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestConversation: Any = Conversation.TestCase


def test_messages_that_wait_are_not_lost_by_a_drain() -> None:
    peer = Peer()
    peer.greet(initial_window_size=0)
    stream = peer.open()
    peer.send(stream, b"a", end=True)
    assert Message(stream, b"a") in peer.quiet()
    peer.server.send(stream, b"b")
    peer.server.end(stream)
    peer.server.drain()
    peer.quiet()
    assert not peer.server.drained
    peer.settings(initial_window_size=6)
    peer.quiet()
    assert peer.server.drained
    assert peer.data[stream] == message(b"b")
