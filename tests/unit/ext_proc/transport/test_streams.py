"""Streams of many messages on every transport: bodies that Envoy sends, and takes, in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HttpBody,
    ProcessingRequest,
    ProcessingResponse,
)
from envoy.service.ext_proc.v3.external_processor_pb2_grpc import ExternalProcessorStub

from ext_proc.transport import TransportFactory
from tests.unit.ext_proc.transport.serving import dialled, serving

pytestmark = pytest.mark.anyio

MANY = 400


def piece(text: bytes, *, end: bool = False) -> ProcessingRequest:
    return ProcessingRequest(request_body=HttpBody(body=text, end_of_stream=end))


class Answering:
    """Answers a piece with its capitals; nothing to an empty one; the last one is the end."""

    def __init__(self) -> None:
        self.done = False

    def receive(self, request: ProcessingRequest) -> Sequence[ProcessingResponse]:
        assert not self.done
        body = request.request_body
        self.done = body.end_of_stream
        if not body.body:
            return ()
        mutation = BodyMutation(body=body.body.upper())
        answer = BodyResponse(response=CommonResponse(body_mutation=mutation))
        return (ProcessingResponse(request_body=answer),)


Call = grpc.aio.StreamStreamCall[Any, Any]


async def read(call: Call) -> bytes:
    answer: Any = await call.read()
    assert answer is not grpc.aio.EOF
    text: bytes = answer.request_body.response.body_mutation.body
    return text


async def ended(call: Call) -> None:
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_many_messages_each_way_in_turns(make: TransportFactory, path: Path) -> None:
    async with serving(make, path, Answering), asyncio.timeout(30), dialled(path) as channel:
        call = ExternalProcessorStub(channel).Process()
        for number in range(MANY):
            await call.write(piece(b"a%d" % number, end=number == MANY - 1))
            assert await read(call) == b"A%d" % number
        await ended(call)


async def test_many_messages_each_way_at_once(make: TransportFactory, path: Path) -> None:
    texts = [b"%d" % number + b"x" * 4_000 for number in range(MANY)]

    async def write(call: Call) -> None:
        for text in texts:
            await call.write(piece(text))
        await call.write(piece(b"", end=True))

    async with serving(make, path, Answering), asyncio.timeout(30), dialled(path) as channel:
        call = ExternalProcessorStub(channel).Process()
        writing = asyncio.create_task(write(call))
        assert [await read(call) for _ in texts] == [text.upper() for text in texts]
        await ended(call)
        await writing


async def test_messages_without_an_answer(make: TransportFactory, path: Path) -> None:
    async with serving(make, path, Answering), asyncio.timeout(30), dialled(path) as channel:
        call = ExternalProcessorStub(channel).Process()
        for text in (b"", b"", b"a", b"", b"b"):
            await call.write(piece(text))
        assert [await read(call), await read(call)] == [b"A", b"B"]
        await call.write(piece(b"", end=True))
        await ended(call)


async def test_interleaved_streams(make: TransportFactory, path: Path) -> None:
    async with serving(make, path, Answering), asyncio.timeout(30), dialled(path) as channel:
        stub = ExternalProcessorStub(channel)
        calls = [stub.Process() for _ in range(20)]
        for number in range(20):
            for index, call in enumerate(calls):
                await call.write(piece(b"s%d m%d" % (index, number), end=number == 19))
            for index, call in enumerate(reversed(calls), 1):
                assert await read(call) == b"S%d M%d" % (len(calls) - index, number)
        for call in calls:
            await ended(call)


async def test_streams_that_end_one_after_the_other(make: TransportFactory, path: Path) -> None:
    """A stream's end is nothing to those that go on."""
    async with serving(make, path, Answering), asyncio.timeout(30), dialled(path) as channel:
        stub = ExternalProcessorStub(channel)
        calls = [stub.Process() for _ in range(10)]
        while calls:
            for call in calls:
                await call.write(piece(b"a", end=call is calls[-1]))
                assert await read(call) == b"A"
            await ended(calls.pop())


@pytest.mark.parametrize("wait", [False, True])
async def test_a_half_close_after_the_last_message(
    make: TransportFactory, path: Path, wait: bool
) -> None:
    async with serving(make, path, Answering), asyncio.timeout(30), dialled(path) as channel:
        call = ExternalProcessorStub(channel).Process()
        await call.write(piece(b"a"))
        await call.write(piece(b"b", end=True))
        if wait:
            assert [await read(call), await read(call)] == [b"A", b"B"]
        await call.done_writing()
        if not wait:
            assert [await read(call), await read(call)] == [b"A", b"B"]
        await ended(call)


async def test_a_half_close_before_the_last_message(make: TransportFactory, path: Path) -> None:
    async with serving(make, path, Answering), asyncio.timeout(30), dialled(path) as channel:
        call = ExternalProcessorStub(channel).Process()
        await call.write(piece(b"a"))
        assert await read(call) == b"A"
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.ABORTED
