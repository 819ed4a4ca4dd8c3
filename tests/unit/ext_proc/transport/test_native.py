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

from ext_proc.transport.h2 import Connection, Limits
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
        self.closed = self.paused = False
        self.gone = asyncio.Event()

    def write(self, data: Any) -> None:
        assert not self.closed
        self.said += parsed(bytes(data))

    def close(self) -> None:
        self.closed = True
        self.gone.set()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Endless:
    """An exchange of many messages."""

    done = False

    def receive(self, _request: ProcessingRequest) -> tuple[ProcessingResponse, ...]:
        return (ProcessingResponse(request_body=BodyResponse()),)


def connected(**limits: int) -> tuple[_Peer, Wire]:
    peer, wire = _Peer(Endless, set()), Wire()
    peer._connection = Connection(Limits(**limits))
    peer.connection_made(wire)
    peer.data_received(GREETING)
    wire.said.clear()
    return peer, wire


def opening(stream: int) -> bytes:
    return headers(stream, payload=block(METHOD))


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
