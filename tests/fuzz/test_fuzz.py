"""The fuzzer for a few seconds, and that it would notice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ext_proc.transport.h2.headers import OpenBlock
from ext_proc.transport.h2.sender import Sender
from ext_proc.transport.h2.stream import H2Stream
from ext_proc.transport.h2.streams import Streams
from tests.fuzz import corpus, harness

SECONDS = 20
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", corpus.inputs())
def test_what_it_begins_with(name: str) -> None:
    harness.run(corpus.inputs()[name])


def nothing(*_: Any) -> None:
    pass


def unbounded(self: OpenBlock, _kind: int, _stream: int, fragment: bytes) -> None:
    self.fragments += fragment
    self._frames += 1


def undone(self: Sender, stream: H2Stream) -> None:
    """`drop`, but what is blocked stays so."""
    self.queued -= stream.unqueue()
    self._streams.close(stream)


@pytest.mark.parametrize(
    ("part", "method", "broken"),
    [
        (Streams, "forget_input", nothing),
        (Sender, "drop", nothing),
        (Sender, "drop", undone),
        (Sender, "_flush", nothing),
        (OpenBlock, "add", unbounded),
    ],
)
def test_it_notices_what_is_broken(
    part: type, method: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, method, broken)
    with pytest.raises(AssertionError):
        run_all()


def run_all() -> None:
    for data in corpus.inputs().values():
        harness.run(data)


@pytest.mark.timeout(6 * SECONDS)
def test_nothing_is_found() -> None:
    """In a process of its own: libFuzzer ends the one it runs in, and instruments what it imports."""
    command = [sys.executable, "-m", "tests.fuzz.run", str(SECONDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=5 * SECONDS)
    told = done.stderr.decode(errors="replace")
    assert done.returncode == 0, told[-4_000:]
    assert "stat::number_of_executed_units" in told
