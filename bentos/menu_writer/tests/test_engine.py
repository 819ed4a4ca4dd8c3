"""Turns, bounds and giving up, with a model that needs no model."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from conftest import FakeLlama, wait_until

from menu_writer import Engine, Limits
from menu_writer.engine import Event
from menu_writer.errors import ContextTooLong, EngineFailure, Overloaded
from menu_writer.generation import End, Generation, Piece, Usage

pytestmark = pytest.mark.anyio


def generation(prompt: str = "p") -> Generation:
    return Generation(prompt=prompt, max_tokens=8, temperature=0.5, top_p=0.9, seed=-1)


async def collect(engine: Engine, prompt: str = "p") -> list[Event]:
    return [event async for event in engine.generate(generation(prompt))]


async def settled(engine: Engine, in_hand: int) -> None:
    async with asyncio.timeout(10):
        while engine.in_hand != in_hand:
            await asyncio.sleep(0)


async def test_pieces_then_the_end_with_usage() -> None:
    llama = FakeLlama("a", "b", finish="length")
    assert await collect(Engine(llama)) == [Piece("a"), Piece("b"), End("length", Usage(7, 2, 2))]
    assert llama.requests[0]["seed"] == 2**32 - 1
    assert llama.requests[0]["cache_prompt"] is False


async def test_requests_take_turns_in_order() -> None:
    llama = FakeLlama(hold=True)
    engine = Engine(llama)
    tasks = []
    for prompt in "abc":
        tasks.append(asyncio.create_task(collect(engine, prompt)))
        await settled(engine, len(tasks))
    assert [request["prompt"] for request in llama.requests] in ([], ["a"])
    llama.release.set()
    await asyncio.gather(*tasks)
    assert [request["prompt"] for request in llama.requests] == ["a", "b", "c"]
    assert engine.in_hand == 0


async def test_a_reader_who_leaves_stops_the_model() -> None:
    llama = FakeLlama(*"abcdefgh", hold=True)
    engine = Engine(llama)
    async with aclosing(engine.generate(generation())) as events:
        assert await anext(events) == Piece("a")
    llama.release.set()
    await asyncio.to_thread(wait_until, lambda: llama.stopped_after == [2])
    assert engine.in_hand == 0


async def test_who_leaves_while_waiting_is_never_run() -> None:
    llama = FakeLlama(hold=True)
    engine = Engine(llama)
    first = asyncio.create_task(collect(engine, "first"))
    await settled(engine, 1)
    second = asyncio.create_task(collect(engine, "second"))
    await settled(engine, 2)
    second.cancel()
    await settled(engine, 1)
    llama.release.set()
    await first
    assert (await collect(engine, "third"))[-1].__class__ is End
    assert [request["prompt"] for request in llama.requests] == ["first", "third"]


async def test_too_many_or_too_long_a_wait_is_overloaded() -> None:
    llama = FakeLlama(hold=True)
    engine = Engine(llama, Limits(waiting=1, wait_seconds=0.05))
    first = asyncio.create_task(collect(engine))
    await settled(engine, 1)
    second = asyncio.create_task(collect(engine))
    await settled(engine, 2)
    with pytest.raises(Overloaded):
        await collect(engine)
    with pytest.raises(Overloaded):
        await second
    llama.release.set()
    await first


async def test_a_text_that_takes_too_long_ends_as_if_it_were_full() -> None:
    llama = FakeLlama(*"abcdefgh")
    events = await collect(Engine(llama, Limits(run_seconds=0.0)))
    assert events == [Piece("a"), End("length", Usage(7, 1, 2))]
    await asyncio.to_thread(wait_until, lambda: llama.stopped_after == [1])


async def test_what_llama_says_is_told_apart_and_never_passed_on() -> None:
    llama = FakeLlama()
    llama.error = {"code": 400, "type": "exceed_context_size_error", "message": "secret prompt"}
    with pytest.raises(ContextTooLong):
        await collect(Engine(llama))
    llama.error = {"code": 500, "type": "server_error", "message": "secret prompt"}
    with pytest.raises(EngineFailure) as failure:
        await collect(Engine(llama))
    assert "secret" not in str(failure.value.body())


async def test_a_model_that_stops_without_an_end_has_failed() -> None:
    class Broken:
        def complete(self, request: object, on_chunk: object) -> None:
            raise OSError("broken")

    with pytest.raises(EngineFailure):
        await collect(Engine(Broken()))


async def test_a_closed_engine_refuses() -> None:
    engine = Engine(FakeLlama())
    engine.close()
    with pytest.raises(Overloaded):
        await collect(engine)
