"""Unary methods on every transport, as gRPC's own client and Envoy's rate limit filter call them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.ext_proc.v3.external_processor_pb2_grpc import ExternalProcessorStub
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from envoy.service.ratelimit.v3.rls_pb2_grpc import RateLimitServiceStub

from ext_proc.stream import RequestStream
from ext_proc.transport import TransportFactory, Unary
from tests.unit.ext_proc.make import request as ext_proc_request
from tests.unit.ext_proc.make import sent, table
from tests.unit.ext_proc.transport.serving import dialled, serving

pytestmark = pytest.mark.anyio

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
REQUEST = RateLimitRequest(domain="naru", hits_addend=3)
OVER = RateLimitResponse.OVER_LIMIT


async def limited(request: bytes) -> bytes:
    """Over the limit, with what was asked in the answer."""
    asked = RateLimitRequest.FromString(request)
    told = f"{asked.domain} {asked.hits_addend}".encode()
    answer: bytes = RateLimitResponse(overall_code=OVER, raw_body=told).SerializeToString()
    return answer


class Waiting:
    """A method that answers when it may."""

    def __init__(self) -> None:
        self.called, self.may, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, request: bytes) -> bytes:
        self.called.set()
        try:
            await self.may.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return await limited(request)


def at(unary: Unary) -> dict[str, Unary]:
    return {METHOD: unary}


def streamed(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamCall[Any, Any]:
    """The same method, with the messages and the half-close in the test's hands."""
    return channel.stream_stream(
        METHOD,
        request_serializer=RateLimitRequest.SerializeToString,
        response_deserializer=RateLimitResponse.FromString,
    )()


async def code(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    found: grpc.StatusCode = raised.value.code()
    return found


async def test_a_call_is_answered(make: TransportFactory, path: Path) -> None:
    async with serving(make, path, unary=at(limited)), dialled(path) as channel:
        answer = await RateLimitServiceStub(channel).ShouldRateLimit(REQUEST, timeout=20)
    assert (answer.overall_code, answer.raw_body) == (OVER, b"naru 3")


async def test_large_messages(make: TransportFactory, path: Path) -> None:
    request = RateLimitRequest(domain="x" * (10 << 20))
    async with serving(make, path, unary=at(limited)), dialled(path) as channel:
        answer = await RateLimitServiceStub(channel).ShouldRateLimit(request, timeout=20)
    assert len(answer.raw_body) == (10 << 20) + 2


async def test_an_answer_does_not_wait_for_the_half_close(
    make: TransportFactory, path: Path
) -> None:
    async with (
        serving(make, path, unary=at(limited)),
        asyncio.timeout(20),
        dialled(path) as channel,
    ):
        call = streamed(channel)
        await call.write(REQUEST)
        answer: Any = await call.read()
        assert answer.overall_code == OVER
        assert await call.code() is grpc.StatusCode.OK


async def test_calls_do_not_wait_for_each_other(make: TransportFactory, path: Path) -> None:
    turns = [asyncio.Event() for _ in range(100)]

    async def backwards(request: bytes) -> bytes:
        number = RateLimitRequest.FromString(request).hits_addend
        if number < len(turns) - 1:
            await turns[number + 1].wait()
        turns[number].set()
        return await limited(request)

    async with serving(make, path, unary=at(backwards)), dialled(path) as channel:
        stub = RateLimitServiceStub(channel)
        requests = [RateLimitRequest(hits_addend=number) for number in range(len(turns))]
        answers = await asyncio.gather(*(stub.ShouldRateLimit(r, timeout=20) for r in requests))
    assert [answer.raw_body for answer in answers] == [b" %d" % n for n in range(len(turns))]


async def test_streams_and_calls_on_one_connection(make: TransportFactory, path: Path) -> None:
    current = table()
    waiting = Waiting()
    async with (
        serving(make, path, lambda: RequestStream(current), at(waiting)),
        asyncio.timeout(20),
        dialled(path) as channel,
    ):
        call = RateLimitServiceStub(channel).ShouldRateLimit(REQUEST)
        await waiting.called.wait()
        stream = ExternalProcessorStub(channel).Process()
        await stream.write(ext_proc_request({"variables": {"dish": "kimchi"}}))
        assert sent(await stream.read())["model"] == "gpt-x"
        waiting.may.set()
        assert (await call).overall_code == OVER


async def test_a_second_message_is_refused(make: TransportFactory, path: Path) -> None:
    waiting = Waiting()
    async with (
        serving(make, path, unary=at(waiting)),
        asyncio.timeout(20),
        dialled(path) as channel,
    ):
        call = streamed(channel)
        await call.write(REQUEST)
        await call.write(REQUEST)
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        await waiting.cancelled.wait()


async def test_an_end_without_a_message_is_refused(make: TransportFactory, path: Path) -> None:
    async with (
        serving(make, path, unary=at(limited)),
        asyncio.timeout(20),
        dialled(path) as channel,
    ):
        call = streamed(channel)
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


async def raising(_request: bytes) -> bytes:
    raise RuntimeError("a secret")


async def cancelled_inside(_request: bytes) -> bytes:
    raise asyncio.CancelledError("a secret")


def no_coroutine(_request: bytes) -> Any:
    raise RuntimeError("a secret")


@pytest.mark.parametrize("broken", [raising, cancelled_inside, no_coroutine])
async def test_what_a_method_raises_is_told_to_nobody(
    make: TransportFactory, path: Path, broken: Unary, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(make, path, unary=at(broken)), dialled(path) as channel:
        stub = RateLimitServiceStub(channel)
        for _ in range(2):
            call = stub.ShouldRateLimit(REQUEST, timeout=20)
            assert await code(call) is grpc.StatusCode.INTERNAL
            assert await call.details() == "the call could not be handled"
    assert "secret" not in caplog.text


async def test_what_cannot_be_parsed_is_the_methods_failure(
    make: TransportFactory, path: Path
) -> None:
    async with serving(make, path, unary=at(limited)), dialled(path) as channel:
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        call = method(b"\xff\xff\xff", timeout=20)
        assert await code(call) is grpc.StatusCode.INTERNAL


async def test_a_caller_that_gives_up_cancels_the_call(make: TransportFactory, path: Path) -> None:
    waiting = Waiting()
    async with (
        serving(make, path, unary=at(waiting)),
        asyncio.timeout(20),
        dialled(path) as channel,
    ):
        call = RateLimitServiceStub(channel).ShouldRateLimit(REQUEST)
        await waiting.called.wait()
        call.cancel()
        await waiting.cancelled.wait()


async def test_a_deadline_cancels_the_call(make: TransportFactory, path: Path) -> None:
    waiting = Waiting()
    async with (
        serving(make, path, unary=at(waiting)),
        asyncio.timeout(20),
        dialled(path) as channel,
    ):
        call = RateLimitServiceStub(channel).ShouldRateLimit(REQUEST, timeout=0.2)
        assert await code(call) is grpc.StatusCode.DEADLINE_EXCEEDED
        await waiting.cancelled.wait()


async def test_a_connection_that_is_lost_cancels_its_calls(
    make: TransportFactory, path: Path
) -> None:
    waiting = Waiting()
    async with serving(make, path, unary=at(waiting)), asyncio.timeout(20):
        async with dialled(path) as channel:
            call = RateLimitServiceStub(channel).ShouldRateLimit(REQUEST)
            await waiting.called.wait()
        await waiting.cancelled.wait()
        assert call.done()


async def test_draining_waits_for_the_answer(make: TransportFactory, path: Path) -> None:
    waiting = Waiting()
    async with (
        serving(make, path, unary=at(waiting)) as transport,
        asyncio.timeout(20),
        dialled(path) as channel,
    ):
        call = RateLimitServiceStub(channel).ShouldRateLimit(REQUEST)
        await waiting.called.wait()
        draining = asyncio.create_task(transport.drain(20))
        await asyncio.wait([draining], timeout=0.05)
        assert not draining.done()
        waiting.may.set()
        assert (await call).overall_code == OVER
        await draining


async def test_draining_cancels_what_takes_too_long(make: TransportFactory, path: Path) -> None:
    waiting = Waiting()
    async with (
        serving(make, path, unary=at(waiting)) as transport,
        asyncio.timeout(20),
        dialled(path) as channel,
    ):
        call = RateLimitServiceStub(channel).ShouldRateLimit(REQUEST)
        await waiting.called.wait()
        await transport.drain(0)
        await waiting.cancelled.wait()
        assert await code(call) is not grpc.StatusCode.OK


async def test_methods_that_nobody_serves(make: TransportFactory, path: Path) -> None:
    async with (
        serving(make, path, unary=at(limited)),
        asyncio.timeout(20),
        dialled(path) as channel,
    ):
        for method in (f"{METHOD}s", "/envoy.service.ext_proc.v3.ExternalProcessor/Process"):
            call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(method)()
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
