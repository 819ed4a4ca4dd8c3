from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from ext_proc.__main__ import read_settings
from ext_proc.ads import PLAN as PLAN_URL
from ext_proc.ads import SECRET as SECRET_URL
from ext_proc.plan import encode
from ext_proc.worker import WorkerSettings, run_worker
from tests.unit.ext_proc.ads_server import AdsServer, ads_server, delta
from tests.unit.ext_proc.make import PLAN, error, request, secret, sent
from tests.unit.ext_proc.test_transport import ask, exists, write

pytestmark = pytest.mark.anyio

GOOD = {"variables": {"dish": "kimchi"}}


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="naru") as directory:
        yield Path(directory) / "w.sock"


@asynccontextmanager
async def worker(settings: WorkerSettings) -> AsyncIterator[asyncio.Event]:
    """A worker in this process; the event is set when it is ready."""
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(run_worker(settings, stop=stop, ready=ready.set))
    try:
        async with asyncio.timeout(20):
            yield ready
    finally:
        stop.set()
        await task


async def push(server: AdsServer, nonce: str, url: str, name: str, body: bytes) -> str:
    """Send one resource; the words of a refusal, or nothing."""
    await server.send(delta(url, nonce, {name: body}))
    while (answer := await server.received()).response_nonce != nonce:
        pass
    return str(answer.error_detail.message)


async def test_serves_what_the_control_plane_sends(path: Path) -> None:
    async with (
        ads_server() as (server, address),
        worker(WorkerSettings(path, address, "w1", patience=60)) as ready,
    ):
        assert (await server.received()).node.id == "w1"
        assert await push(server, "1", SECRET_URL, "menu-key", secret()) == ""
        assert not exists(path)  # not before the first plans are there
        assert await push(server, "2", PLAN_URL, PLAN.name, encode(PLAN)) == ""
        await ready.wait()
        assert sent(await ask(path, request(GOOD)))["model"] == "gpt-x"

        changed = encode(replace(PLAN, model="gpt-y"))
        assert await push(server, "3", PLAN_URL, PLAN.name, changed) == ""
        assert sent(await ask(path, request(GOOD)))["model"] == "gpt-y"

        bad = encode(replace(PLAN, dialect="morse"))
        assert "dialect morse" in await push(server, "4", PLAN_URL, PLAN.name, bad)
        assert sent(await ask(path, request(GOOD)))["model"] == "gpt-y"

        await server.send(None)  # the control plane goes away
        assert sent(await ask(path, request(GOOD)))["model"] == "gpt-y"
    assert not exists(path)


async def test_opens_without_plans_when_its_patience_ends(path: Path) -> None:
    async with worker(WorkerSettings(path, "127.0.0.1:1", "w1", patience=0.01)) as ready:
        await ready.wait()
        answer = await ask(path, request(GOOD))
        assert error(answer)[:2] == (503, "plan_unavailable")


async def test_a_socket_that_cannot_be_opened_is_an_error(path: Path) -> None:
    write(path)
    with pytest.raises(OSError, match="not a socket"):
        await run_worker(
            WorkerSettings(path, "127.0.0.1:1", "w1", patience=0.01), stop=asyncio.Event()
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_ends(path: Path, number: signal.Signals) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path\n"
        "from ext_proc.worker import WorkerSettings, run_worker\n"
        "settings = WorkerSettings(Path(sys.argv[1]), '127.0.0.1:1', 'w1', patience=0.01)\n"
        "asyncio.run(run_worker(settings, ready=lambda: print('ready', flush=True)))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(path), stdout=subprocess.PIPE, env={**os.environ}
    )
    try:
        async with asyncio.timeout(30):
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
            assert exists(path)
            process.send_signal(number)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert not exists(path)


def test_nothing_happens_at_import() -> None:
    program = "import sys, threading, ext_proc.worker; sys.exit(threading.active_count() - 1)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_settings_as_naru_up_gives_them() -> None:
    text = json.dumps(
        {"socket": "/run/w.sock", "xds_address": "h:1", "node_id": "w", "state_dir": "/s"}
        | {"listener": 7, "state_key_file": None}
    )
    expected = WorkerSettings(Path("/run/w.sock"), "h:1", "w", listener=7, state_dir=Path("/s"))
    assert read_settings(text) == expected


async def test_it_says_that_it_is_ready_where_it_is_asked_to(path: Path) -> None:
    settings = {"socket": str(path), "xds_address": "127.0.0.1:1", "node_id": "w", "patience": 0.01}
    word, told = os.pipe()
    command = ("-m", "ext_proc", json.dumps(settings), "--ready-fd", str(told))
    process = await asyncio.create_subprocess_exec(sys.executable, *command, pass_fds=(told,))
    os.close(told)
    try:
        async with asyncio.timeout(30):
            assert await asyncio.to_thread(os.read, word, 9) == b"\n"
            assert exists(path)
            assert await asyncio.to_thread(os.read, word, 9) == b""
    finally:
        os.close(word)
        process.terminate()
        assert await process.wait() == 0


async def test_where_it_cannot_listen_it_says_so(path: Path) -> None:
    write(path)
    settings = {"socket": str(path), "xds_address": "127.0.0.1:1", "node_id": "w", "patience": 0.01}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ext_proc", json.dumps(settings)), stderr=subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith(b"the worker cannot listen: not a socket")
