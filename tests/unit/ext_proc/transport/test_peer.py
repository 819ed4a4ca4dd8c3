"""Calls of another implementation, at the level of frames."""

from __future__ import annotations

import random

import pytest

from ext_proc.transport.h2 import Code, Limits, Message, Status
from tests.unit.ext_proc.transport.peer import DEFAULT, Peer
from tests.unit.ext_proc.transport.wire import EMPTY, METHOD, Server, message

MIB = 1024 * 1024


def greeted(limits: Limits = DEFAULT, *, eager: bool = True, **settings: int) -> Peer:
    peer = Peer(limits, eager=eager)
    peer.greet(**settings)
    peer.quiet()
    return peer


def serve(peer: Peer) -> None:
    """Echo every message, and end every call that the peer has ended, until nothing happens."""
    while events := peer.quiet():
        for event in events:
            if isinstance(event, Message):
                assert peer.server.send(event.stream, event.data)
        for stream in peer.ended:
            peer.server.end(stream)


def books(peer: Peer) -> dict[str, int]:
    server = Server()
    server.connection = peer.server
    return server.books()


def test_many_calls() -> None:
    peer = greeted()
    streams = [peer.open() for _ in range(300)]
    for stream in streams:
        peer.send(stream, b"%d" % stream, b"", end=True)
    serve(peer)
    for stream in streams:
        assert peer.paths[stream] == METHOD
        assert peer.data[stream] == message(b"%d" % stream) + message()
        assert peer.status[stream] == b"0"
    assert not peer.resets
    assert books(peer) == EMPTY


def test_large_messages() -> None:
    peer = greeted()
    text = random.Random(1).randbytes(5 * MIB)
    stream = peer.open()
    peer.send(stream, text, end=True)
    serve(peer)
    assert peer.got[stream] == [text]
    assert peer.data[stream] == message(text)
    assert peer.status[stream] == b"0"
    assert books(peer) == EMPTY


def test_large_messages_side_by_side_in_small_windows() -> None:
    peer = greeted(Limits(stream_window=65_535, connection_window=65_535))
    texts = {peer.open(): random.Random(n).randbytes(300_000) for n in range(5)}
    for stream, text in texts.items():
        peer.send(stream, text, end=True)
    serve(peer)
    assert {stream: bytes(got) for stream, got in peer.data.items()} == {
        stream: message(text) for stream, text in texts.items()
    }
    assert books(peer) == EMPTY


def test_a_window_of_one_byte() -> None:
    peer = greeted(eager=False, initial_window_size=1)
    stream = peer.open()
    peer.send(stream, b"slow", end=True)
    serve(peer)
    assert peer.data[stream] == b"\x00"
    expected = message(b"slow")
    for size in range(1, len(expected)):
        assert stream not in peer.status
        peer.client.increment_flow_control_window(1, stream)
        peer.quiet()
        assert peer.data[stream] == expected[: size + 1]
    assert peer.status[stream] == b"0"
    assert books(peer) == EMPTY


@pytest.mark.parametrize(
    "sizes", [(0, 1, 0, 70_000), (10, 0, 3, 5, 100_000), (70_000, 1, 2**31 - 1)]
)
def test_initial_windows_that_change_in_the_middle(sizes: tuple[int, ...]) -> None:
    peer = greeted(eager=False)
    stream, text = peer.open(), random.Random(2).randbytes(66_000)
    peer.send(stream, text, end=True)
    for size in sizes:
        peer.settings(initial_window_size=size)
        serve(peer)
    peer.client.increment_flow_control_window(100_000)
    peer.quiet()
    assert peer.data[stream] == message(text)
    assert books(peer) == EMPTY


def test_windows_below_zero() -> None:
    peer = greeted(eager=False)
    stream = peer.open()
    peer.send(stream, bytes(30_000), bytes(30_000))
    serve(peer)
    peer.settings(initial_window_size=100)
    serve(peer)
    assert peer.server._streams.open[stream].send_window == 100 - 60_010
    peer.server.send(stream, b"more")
    peer.client.increment_flow_control_window(59_910, stream)
    peer.quiet()
    assert len(peer.data[stream]) == 60_010
    peer.client.increment_flow_control_window(4, stream)
    peer.quiet()
    assert len(peer.data[stream]) == 60_014
    peer.settings(initial_window_size=105)
    peer.quiet()
    assert peer.data[stream].endswith(message(b"more"))


def test_frame_sizes_of_the_peer_that_change() -> None:
    peer = greeted(initial_window_size=2**31 - 1)
    stream = peer.open()
    for size in (2**24 - 1, 16_384, 20_000):
        peer.settings(max_frame_size=size)
        peer.quiet()
        peer.server.send(stream, bytes(3 * MIB))
        peer.quiet()
    assert peer.data[stream] == message(bytes(3 * MIB)) * 3


def test_header_blocks_over_many_frames() -> None:
    peer = greeted()
    stream = peer.open("/long", *[(f"x-{n}", "&" * 2000) for n in range(20)])
    peer.collect()
    assert len(peer.to_server) > 2 * 16_384
    peer.quiet()
    assert peer.paths[stream] == "/long"


@pytest.mark.parametrize("acknowledged_after", range(8))
def test_header_blocks_before_and_after_the_table_is_gone(acknowledged_after: int) -> None:
    """Equal blocks of a peer with a table mean different things; those of one without do not."""
    peer = Peer()
    peer.greet()
    expected = {}
    for number in range(24):
        path = f"/method/{number % 3}"
        expected[peer.open(path, ("x-number", str(number % 2)))] = path
        peer.collect()
        peer.deliver_to_server()
        if number == acknowledged_after:
            peer.collect()
            peer.deliver_to_client()
    peer.quiet()
    assert peer.paths == expected
    assert len(peer.server._headers._known) >= 6  # so that this test is about them


@pytest.mark.parametrize("seed", range(20))
def test_resets_at_any_moment(seed: int) -> None:
    chance = random.Random(seed)
    peer = greeted(eager=False, initial_window_size=chance.choice([0, 10, 65_535]))
    streams: list[int] = []
    for _ in range(200):
        if chance.random() < 0.3:
            streams.append(peer.open())
            peer.send(
                streams[-1], chance.randbytes(chance.randrange(1000)), end=chance.random() < 0.5
            )
        if streams and chance.random() < 0.2:
            peer.reset(streams.pop(chance.randrange(len(streams))))
        peer.collect()
        for event in peer.deliver_to_server(chance.randrange(len(peer.to_server) + 1)):
            if isinstance(event, Message):
                peer.server.send(event.stream, event.data)
                if chance.random() < 0.5:
                    peer.server.end(event.stream)
        if chance.random() < 0.1:
            peer.server.reset(chance.choice([*peer.paths, 1]), Code.CANCEL)
        if chance.random() < 0.5:
            peer.deliver_to_client(chance.randrange(len(peer.to_client) + 1))
    peer.quiet()
    for stream in streams:
        peer.reset(stream)
    peer.quiet()
    assert books(peer) | {"left": 0} == EMPTY
    assert peer.server._streams.left.keys() <= peer.resets.keys()  # they are remembered for a while
    assert not peer.server.closing
    assert peer.client.open_outbound_streams == 0


def test_a_refused_message_reaches_the_caller_as_a_status() -> None:
    peer = greeted(Limits(message=1000))
    stream = peer.open()
    peer.send(stream, bytes(200_000))
    peer.quiet()
    assert peer.status[stream] == b"%d" % Status.RESOURCE_EXHAUSTED
    assert peer.resets == {stream: Code.NO_ERROR}


def test_draining_with_streams_that_cross() -> None:
    peer = greeted()
    first = peer.open()
    peer.quiet()
    peer.server.drain()
    peer.collect()
    crossing = peer.open()
    peer.quiet()
    assert [frame.payload[:4] for frame in peer.goaways] == [
        b"\x7f\xff\xff\xff",
        b"\x00\x00\x00\x03",
    ]
    late = peer.open()
    peer.quiet()
    assert peer.resets == {late: Code.REFUSED_STREAM}
    peer.send(crossing, b"a", end=True)
    serve(peer)
    assert not peer.server.drained
    peer.send(first, b"b", end=True)
    serve(peer)
    assert peer.server.drained
    assert peer.status == {first: b"0", crossing: b"0"}
