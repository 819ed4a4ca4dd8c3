from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from naru.cli import main
from naru.up.control import NAME, Tell, answering, ask

pytestmark = pytest.mark.anyio


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    deep = tmp_path / ("a-long-name-" * 8)  # longer than a socket's path may be
    deep.mkdir()
    return deep


async def two_steps(tell: Tell) -> None:
    await tell({"name": "ext_proc.0", "old": 1, "new": 2, "seconds": 0.25})
    await tell({"name": "ext_proc.1", "old": 3, "new": 4, "seconds": 0.5})


async def one_goes_on(tell: Tell) -> None:
    await tell({"name": "ext_proc.0", "old": 1, "new": 2, "seconds": 2.25, "finishing": True})


async def one_fails(tell: Tell) -> None:
    await tell({"error": "ext_proc.0 exited with status 1.\n  Its last lines:\n    no luck"})


async def cancelled(_tell: Tell) -> None:
    raise asyncio.CancelledError


async def asked(data_dir: Path, command: str) -> list[dict[str, Any]]:
    return await asyncio.to_thread(lambda: list(ask(data_dir, command)))


async def test_a_command_tells_what_it_does(data_dir: Path) -> None:
    async with answering(data_dir, {"restart": two_steps}):
        mode = stat.S_IMODE((data_dir / NAME).stat().st_mode)
        assert mode == 0o600
        said = await asked(data_dir, "restart")
        assert [line.get("new") for line in said] == [2, 4, None]
        assert said[-1] == {"done": True}
        assert await asked(data_dir, "explode") == [{"error": "unknown command"}, {"done": True}]
    assert os.listdir(data_dir) == []


async def test_whoever_leaves_or_babbles_harms_nobody(data_dir: Path) -> None:
    async with answering(data_dir, {"restart": two_steps}):
        for words in (b"", b"x" * 4096, b"\xff\n"):
            with socket.socket(socket.AF_UNIX) as caller:
                await asyncio.to_thread(connect, caller, data_dir)
                caller.sendall(words)
        assert (await asked(data_dir, "restart"))[-1] == {"done": True}


def connect(caller: socket.socket, data_dir: Path) -> None:
    descriptor = os.open(data_dir, os.O_RDONLY)
    caller.connect(f"/proc/self/fd/{descriptor}/{NAME}")
    os.close(descriptor)


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (two_steps, 0, "ext_proc.0: pid 1 -> 2, 0.2 s\next_proc.1: pid 3 -> 4, 0.5 s\n"),
        (one_goes_on, 0, "1 -> 2, 2.2 s; the old one finishes its answers\n"),
        (one_fails, 1, "no luck\nError: Not every worker was restarted"),
        (cancelled, 3, "ended meanwhile"),
    ],
)
async def test_naru_restart(data_dir: Path, command: Any, status: int, words: str) -> None:
    async with answering(data_dir, {"restart": command}):
        result = await asyncio.to_thread(invoke, data_dir)
    assert (result.exit_code, words in result.output) == (status, True), result.output


def test_naru_restart_where_nothing_runs(data_dir: Path) -> None:
    result = invoke(data_dir)
    assert result.exit_code == 3
    assert "No `naru up` runs" in result.output


def invoke(data_dir: Path) -> Any:
    return CliRunner().invoke(main, ["--data-dir", str(data_dir), "restart"])
