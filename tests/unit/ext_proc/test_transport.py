"""One suite for every transport."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    HttpHeaders,
    ProcessingRequest,
    ProcessingResponse,
)
from envoy.service.ext_proc.v3.external_processor_pb2_grpc import ExternalProcessorStub

from ext_proc.stream import RequestStream
from ext_proc.transport import TransportFactory as Make
from ext_proc.transport._socket import MAX_PATH
from tests.unit.ext_proc.make import error, request, sent, table
from tests.unit.ext_proc.transport.serving import dialled, serving

pytestmark = pytest.mark.anyio

GOOD = {"variables": {"dish": "kimchi"}}


def exists(path: Path) -> bool:
    return path.exists()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(path: Path) -> None:
    path.write_text("a file")


@asynccontextmanager
async def calling(path: Path) -> AsyncIterator[grpc.aio.StreamStreamCall[Any, Any]]:
    async with dialled(path) as channel, asyncio.timeout(20):
        call = ExternalProcessorStub(channel).Process()
        yield call
        call.cancel()


async def ask(path: Path, message: ProcessingRequest) -> ProcessingResponse:
    async with calling(path) as call:
        await call.write(message)
        answer: ProcessingResponse = await call.read()
        assert await call.read() is grpc.aio.EOF  # though we have not closed our side
        assert await call.code() is grpc.StatusCode.OK
        return answer


async def test_one_answer_then_the_server_ends_the_stream(make: Make, path: Path) -> None:
    async with serving(make, path):
        assert sent(await ask(path, request(GOOD)))["model"] == "gpt-x"
        assert error(await ask(path, request(b"no json")))[:2] == (400, "invalid_json")


async def test_the_wrong_phase_is_answered_with_an_error(make: Make, path: Path) -> None:
    message = ProcessingRequest(request_headers=HttpHeaders(end_of_stream=True))
    async with serving(make, path):
        assert error(await ask(path, message))[:2] == (500, "gateway_error")


async def test_large_bodies(make: Make, path: Path) -> None:
    text = "x" * (10 << 20)
    message = request(
        {"messages": [{"content": text}]}, path="/v1/chat/completions", route="bare#1a"
    )
    async with serving(make, path):
        assert sent(await ask(path, message))["messages"][0]["content"] == text


async def test_many_streams_at_once(make: Make, path: Path) -> None:
    async def one(number: int, stub: ExternalProcessorStub) -> None:
        call = stub.Process()
        await call.write(request({"variables": {"dish": f"dish {number}"}}))
        content = sent(await call.read())["messages"][1]["content"]
        assert content == f"Describe dish {number}."

    async with serving(make, path), asyncio.timeout(20), dialled(path) as channel:
        stub = ExternalProcessorStub(channel)
        await asyncio.gather(*(one(number, stub) for number in range(100)))


async def test_an_end_before_the_body_is_not_ok(make: Make, path: Path) -> None:
    async with serving(make, path), calling(path) as call:
        await call.done_writing()
        assert await call.code() is not grpc.StatusCode.OK


async def test_garbage_is_not_ok(make: Make, path: Path) -> None:
    async with serving(make, path), asyncio.timeout(20), dialled(path) as channel:
        method = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(method)()
        await call.write(b"\xff\xff\xff")
        assert await call.code() is not grpc.StatusCode.OK


class Broken:
    done = False

    def receive(self, _request: ProcessingRequest) -> Sequence[ProcessingResponse]:
        raise RuntimeError("broken")


async def test_a_broken_stream_is_not_ok(make: Make, path: Path) -> None:
    async with serving(make, path, Broken), calling(path) as call:
        await call.write(request(GOOD))
        assert await call.code() is not grpc.StatusCode.OK


async def test_draining_lets_open_streams_finish(make: Make, path: Path) -> None:
    opened = asyncio.Event()
    current = table()

    def streams() -> RequestStream:
        opened.set()
        return RequestStream(current)

    async with serving(make, path, streams) as transport, calling(path) as call:
        await call.wait_for_connection()
        await opened.wait()
        draining = asyncio.create_task(transport.drain(20))
        await asyncio.wait([draining], timeout=0.05)
        assert not draining.done()
        await call.write(request(GOOD))
        assert sent(await call.read())["model"] == "gpt-x"
        await draining
    assert not exists(path)


async def test_the_socket_is_private_and_its_directory_left_alone(make: Make, path: Path) -> None:
    before = os.umask(0o022)
    path.parent.chmod(0o700)
    async with serving(make, path):
        assert mode(path) == 0o600
        assert mode(path.parent) == 0o700
    assert os.umask(before) == 0o022


async def test_what_a_dead_process_left_is_replaced(make: Make, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert exists(path)
    async with serving(make, path):
        assert sent(await ask(path, request(GOOD)))["model"] == "gpt-x"


async def test_what_is_not_ours_to_take_is_left_alone(make: Make, path: Path) -> None:
    async with serving(make, path):
        with pytest.raises(OSError, match="another process listens"):
            await make(lambda: RequestStream(table())).start(path)
        assert sent(await ask(path, request(GOOD)))["model"] == "gpt-x"
    write(path)
    with pytest.raises(OSError, match="not a socket"):
        await make(lambda: RequestStream(table())).start(path)
    assert exists(path)


async def test_paths_that_cannot_be_a_socket(make: Make, path: Path) -> None:
    with pytest.raises(OSError, match=f"may have {MAX_PATH} bytes"):
        await make(lambda: RequestStream(table())).start(path.parent / ("x" * MAX_PATH))
