"""Shared by all tests: a model that needs no model."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from menu_writer.llama import Chunk, OnChunk

TOKEN = "test-token-4f1d"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def chunk(text: str, *, n: int = 1, finish: str | None = None) -> Chunk:
    """A chunk as llama.cpp gives it."""
    timings = {"cache_n": 2, "prompt_n": 5, "predicted_n": n}
    document: dict[str, Any] = {"choices": [{"text": text, "finish_reason": finish}], "timings": timings}
    if finish:
        document["usage"] = {"prompt_tokens": 7, "completion_tokens": n}
    return document


class FakeLlama:
    """Writes `words`; with `hold`, waits for `release` after the first one."""

    def __init__(self, *words: str, finish: str = "stop", hold: bool = False) -> None:
        self.words = words or (" Warm", " rice", "\n")
        self.finish = finish
        self.error: Chunk | None = None
        self.requests: list[Chunk] = []
        self.stopped_after: list[int] = []
        self.release = threading.Event()
        if not hold:
            self.release.set()

    def complete(self, request: Chunk, on_chunk: OnChunk) -> None:
        self.requests.append(request)
        for n, stop in enumerate(self._feed(on_chunk), start=1):
            if stop:
                self.stopped_after.append(n)
                return

    def _feed(self, on_chunk: OnChunk) -> Iterator[bool]:
        if self.error is not None:
            yield on_chunk({"error": self.error})
            return
        for n, word in enumerate(self.words, start=1):
            yield on_chunk(chunk(word, n=n))
            if not self.release.wait(10):
                raise TimeoutError("the test never released the model")
        yield on_chunk(chunk("", n=len(self.words), finish=self.finish))


def wait_until(condition: Any, seconds: float = 10.0) -> None:
    """Until `condition()` is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        threading.Event().wait(0.01)
