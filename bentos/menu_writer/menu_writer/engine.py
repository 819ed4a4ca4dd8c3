"""The one model, shared: requests take turns in the order they came, each bounded in time.

The event loop's side of `llama.py`. One worker thread is the queue: a request that nobody waits for
any more leaves it, a text that nobody reads any more stops at its next token.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass

from .errors import ContextTooLong, EngineFailure, Overloaded, ServiceError
from .generation import End, Generation, Piece, Usage
from .llama import Chunk, Llama, to_request

Event = Piece | End

_log = logging.getLogger("bentoml.menu_writer")


@dataclass(frozen=True, slots=True)
class Limits:
    """`waiting` is a number of requests, the others are seconds."""

    waiting: int = 64
    wait_seconds: float = 60.0
    run_seconds: float = 120.0


class Engine:
    def __init__(self, llama: Llama, limits: Limits | None = None) -> None:
        self._llama = llama
        self._limits = limits or Limits()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="llama")
        self._in_hand = 0
        self._closed = threading.Event()

    @property
    def in_hand(self) -> int:
        """Requests that run or wait."""
        return self._in_hand

    async def generate(self, generation: Generation) -> AsyncGenerator[Event, None]:
        """Pieces of text, then one End. Closing the iterator stops the model.

        Raises:
            Overloaded: too many wait already, or the turn did not come in time.
            ContextTooLong: the prompt does not fit.
            EngineFailure: llama.cpp refused or broke.
        """
        if self._closed.is_set() or self._in_hand > self._limits.waiting:
            raise Overloaded()
        turn = _Turn(self._llama, to_request(generation), self._limits.run_seconds, self._closed)
        self._in_hand += 1
        future = self._thread.submit(turn.run)
        try:
            await turn.begin(self._limits.wait_seconds)
            async with aclosing(turn.events()) as events:
                async for event in events:
                    yield event
        finally:
            turn.stop.set()
            future.cancel()
            self._in_hand -= 1

    def close(self) -> None:
        """Stop what runs at its next token, refuse what waits and what comes."""
        self._closed.set()
        self._thread.shutdown(wait=False, cancel_futures=True)


class _Turn:
    """One request's way through the thread; made in the event loop, `run` in the thread."""

    def __init__(self, llama: Llama, request: Chunk, seconds: float, closed: threading.Event) -> None:
        self._llama = llama
        self._request = request
        self._seconds = seconds
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._begun = asyncio.Event()
        self._queue: asyncio.Queue[Event | ServiceError] = asyncio.Queue()
        self._deadline = 0.0
        self._ended = False
        self.stop = threading.Event()

    async def begin(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._begun.wait(), seconds)
        except TimeoutError:
            raise Overloaded() from None

    async def events(self) -> AsyncGenerator[Event, None]:
        while True:
            event = await self._queue.get()
            if isinstance(event, ServiceError):
                raise event
            yield event
            if isinstance(event, End):
                return

    def run(self) -> None:
        self._deadline = time.monotonic() + self._seconds
        self._in_loop(self._begun.set)
        try:
            self._llama.complete(self._request, self._on_chunk)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller waits for an end
            _log.error("llama.cpp raised %s", type(error).__name__)
        if not self._ended:
            self._put(EngineFailure())

    def _on_chunk(self, chunk: Chunk) -> bool:
        if "error" in chunk:
            self._finish(_failure(chunk["error"]))
        elif chunk["choices"]:
            self._on_choice(chunk)
        return self._ended or self.stop.is_set() or self._closed.is_set()

    def _on_choice(self, chunk: Chunk) -> None:
        choice = chunk["choices"][0]
        if choice["text"]:
            self._put(Piece(choice["text"]))
        if choice["finish_reason"]:
            self._finish(End("length" if choice["finish_reason"] == "length" else "stop", _usage(chunk)))
        elif time.monotonic() > self._deadline:
            self._finish(End("length", _usage(chunk)))

    def _finish(self, last: End | ServiceError) -> None:
        self._ended = True
        self._put(last)

    def _put(self, event: Event | ServiceError) -> None:
        self._in_loop(self._queue.put_nowait, event)

    def _in_loop(self, call: object, *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)  # type: ignore[arg-type]
        except RuntimeError:  # the loop has closed: nobody is left to tell
            self.stop.set()


def _usage(chunk: Chunk) -> Usage:
    """llama.cpp gives `usage` in the last chunk, and `timings` in every one."""
    timings = chunk["timings"]
    usage = chunk.get("usage")
    if usage:
        return Usage(usage["prompt_tokens"], usage["completion_tokens"], timings["cache_n"])
    return Usage(timings["cache_n"] + timings["prompt_n"], timings["predicted_n"], timings["cache_n"])


def _failure(error: Chunk) -> ServiceError:
    """llama.cpp's message may quote the prompt: only its type is kept."""
    if error.get("type") == "exceed_context_size_error":
        return ContextTooLong()
    _log.error("llama.cpp answered %s %s", error.get("code"), error.get("type"))
    return EngineFailure()
