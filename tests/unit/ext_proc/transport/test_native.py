"""What the contract of all transports leaves open: the shell alone, with a transport in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyResponse,
    ProcessingRequest,
    ProcessingResponse,
)

from ext_proc.transport.h2 import Limits
from ext_proc.transport.native import METHOD, _Peer
from tests.unit.ext_proc.transport.wire import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    GREETING,
    HEADERS,
    INITIAL_WINDOW,
    Frame,
    block,
    data,
    headers,
    literal,
    message,
    parsed,
    ping,
    rst_stream,
    settings,
)

pytestmark = pytest.mark.anyio

REQUEST = message(ProcessingRequest().SerializeToString())


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[Frame] = []
        self.writes = 0
        self.closed = self.paused = False
        self.gone = asyncio.Event()

    def write(self, data: Any) -> None:
        assert not self.closed
        self.writes += 1
        self.said += parsed(bytes(data))

    def close(self) -> None:
        self.closed = True
        self.gone.set()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.closed


class Endless:
    """An exchange of many messages."""

    done = False

    def receive(self, _request: ProcessingRequest) -> tuple[ProcessingResponse, ...]:
        return (ProcessingResponse(request_body=BodyResponse()),)


async def echo(request: bytes) -> bytes:
    return request


async def never(_request: bytes) -> bytes:
    await asyncio.Event().wait()
    raise AssertionError


def connected(**limits: int) -> tuple[_Peer, Wire]:
    unary = {"/echo": echo, "/never": never}
    peer, wire = _Peer(Endless, unary, set(), Limits(**limits)), Wire()
    peer.connection_made(wire)
    peer.data_received(GREETING)
    wire.said.clear()
    return peer, wire


def opening(stream: int, path: str = METHOD, timeout: bytes | None = None) -> bytes:
    waits = b"" if timeout is None else literal(b"grpc-timeout", timeout)
    return headers(stream, payload=block(path) + waits)


async def test_all_that_arrives_together_is_written_once() -> None:
    peer, wire = connected()
    peer.data_received(opening(1) + data(1, REQUEST) + opening(3) + data(3, REQUEST * 2))
    assert [(f.kind, f.stream) for f in wire.said] == [
        (HEADERS, 1), (DATA, 1), (HEADERS, 3), (DATA, 3), (DATA, 3),
    ]  # fmt: skip


async def test_a_stream_whose_peer_takes_nothing_is_forgotten() -> None:
    peer, wire = connected(queued=20)
    peer.data_received(settings((INITIAL_WINDOW, 0)) + opening(1) + data(1, REQUEST * 9))
    assert peer._streams == {}
    assert wire.said[-2].flags & END_STREAM
    peer.data_received(data(1, REQUEST))


@pytest.mark.parametrize("end", [rst_stream(1), data(1, b"", END_STREAM), data(1, b"\x01bad-")])
async def test_streams_that_end_early_are_forgotten(end: bytes) -> None:
    peer, _ = connected()
    peer.data_received(opening(1) + data(1, REQUEST))
    assert peer._streams.keys() == {1}
    peer.data_received(end)
    assert peer._streams == {}


async def test_a_fault_is_told_and_the_connection_closed() -> None:
    peer, wire = connected()
    peer.data_received(opening(1) + data(1, REQUEST) + data(0))
    assert wire.closed
    assert [frame.kind for frame in wire.said] == [GOAWAY, HEADERS, DATA]
    peer.drain()


async def test_a_drained_connection_is_closed() -> None:
    peer, wire = connected()
    peer.drain()
    assert not wire.closed
    peer.data_received(ping(b"draining", ACK))
    assert not wire.closed, "closed with something unread, it would be a reset to the peer"
    async with asyncio.timeout(5):
        await wire.gone.wait()


async def test_a_peer_that_does_not_read_is_not_read() -> None:
    peer, wire = connected()
    peer.pause_writing()
    assert wire.paused
    peer.resume_writing()
    assert not wire.paused


# ---- unary calls


async def turns(count: int = 5) -> None:
    """Of the loop: more than a call needs that waits for nothing."""
    for _ in range(count):
        await asyncio.sleep(0)


def status(frame: Frame) -> bytes:
    assert frame.kind == HEADERS
    assert frame.flags & END_STREAM
    return frame.payload[frame.payload.index(b"grpc-status") + 12 :][:2].strip(b"\x00\x01")


async def test_calls_that_are_answered_together_are_written_once() -> None:
    peer, wire = connected()
    before = wire.writes
    peer.data_received(b"".join(opening(n, "/echo") + data(n, REQUEST) for n in (1, 3, 5)))
    await turns()
    assert wire.writes == before + 1
    assert [(f.kind, f.stream) for f in wire.said] == [
        (kind, n) for n in (1, 3, 5) for kind in (HEADERS, DATA, HEADERS)
    ]
    assert len(peer._calls) == 0


@pytest.mark.parametrize("waits", [b"1n", b"0S"])
@pytest.mark.parametrize("sent", [b"", data(1, REQUEST)])
async def test_a_deadline_is_kept_though_the_caller_does_not_reset(
    waits: bytes, sent: bytes
) -> None:
    peer, wire = connected()
    peer.data_received(opening(1, "/never", waits) + sent)
    await turns()
    assert status(wire.said[-1]) == b"4"
    assert len(peer._calls) == 0


@pytest.mark.parametrize("waits", [b"", b"S", b"1", b"-1n", b"1x", b"123456789n", b"\xb2n"])
async def test_a_deadline_that_is_none(waits: bytes) -> None:
    peer, wire = connected()
    peer.data_received(opening(1, "/never", waits) + data(1, REQUEST))
    await turns()
    assert wire.said == []
    peer.data_received(rst_stream(1))


async def test_a_deadline_of_an_answered_call_is_nobodys() -> None:
    peer, wire = connected()
    peer.data_received(opening(1, "/echo", b"1H") + data(1, REQUEST))
    deadline = peer._calls._open[1].deadline
    await turns()
    assert status(wire.said[-1]) == b"0"
    assert deadline is not None
    assert deadline.cancelled()


@pytest.mark.parametrize(
    "end", [rst_stream(1), data(1, REQUEST), data(1, b"\x01bad-"), data(0), None]
)
async def test_calls_that_end_early_are_cancelled(end: bytes | None) -> None:
    peer, wire = connected()
    peer.data_received(opening(1, "/never", b"1H") + data(1, REQUEST))
    call = peer._calls._open[1]
    assert call.task is not None
    await turns()
    if end is not None:
        peer.data_received(end)
    if end is None or wire.closed:
        peer.connection_lost(None)
    await turns()
    assert call.task.cancelled()
    assert call.deadline is not None
    assert call.deadline.cancelled()
    assert len(peer._calls) == 0


async def test_a_call_that_is_reset_at_once_never_begins() -> None:
    began = False

    async def begin(request: bytes) -> bytes:
        nonlocal began
        began = True
        return request

    peer, wire = connected()
    peer._calls._methods = {"/begin": begin}
    for end in (rst_stream(1), data(3, REQUEST)):
        stream = 1 if end == rst_stream(1) else 3
        peer.data_received(opening(stream, "/begin") + data(stream, REQUEST) + end)
    await turns()
    assert not began
    assert status(wire.said[-1]) == b"12"
    assert len(peer._calls) == 0


async def test_an_answer_to_a_connection_that_is_being_closed_is_dropped() -> None:
    peer, wire = connected()
    peer.data_received(opening(1, "/echo") + data(1, REQUEST))
    wire.close()
    await turns()
    assert wire.said == []
