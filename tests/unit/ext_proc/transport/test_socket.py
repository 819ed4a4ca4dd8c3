"""Listening sockets, made here or handed over, and the transport that serves one handed over."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ext_proc.stream import RequestStream
from ext_proc.transport import TRANSPORTS, _socket
from ext_proc.transport.native import NativeTransport
from tests.unit.ext_proc.make import request, sent, table
from tests.unit.ext_proc.test_transport import GOOD, ask, exists

pytestmark = pytest.mark.anyio


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="naru") as directory:
        yield Path(directory) / "s.sock"


@pytest.fixture
def held(path: Path) -> Iterator[socket.socket]:
    """The supervisor's socket."""
    with _socket.listen(path) as listener:
        yield listener


def handed_over(held: socket.socket) -> socket.socket:
    """As a child process gets it."""
    return _socket.adopt(os.dup(held.fileno()))


@asynccontextmanager
async def serving(path: Path, held: socket.socket) -> AsyncIterator[NativeTransport]:
    current = table()
    transport = NativeTransport(lambda: RequestStream(current))
    await transport.start(path, handed_over(held))
    try:
        yield transport
    finally:
        await transport.drain(0)


async def model(path: Path) -> str:
    return str(sent(await ask(path, request(GOOD)))["model"])


async def test_what_connects_while_nobody_serves_waits(path: Path, held: socket.socket) -> None:
    early = asyncio.create_task(model(path))
    await asyncio.wait({early}, timeout=0.05)
    assert not early.done()
    async with serving(path, held):
        assert await early == "gpt-x"
    assert exists(path), "it is not ours to take away"
    late = asyncio.create_task(model(path))
    async with serving(path, held):
        assert await late == "gpt-x"


async def test_the_next_serves_beside_the_last(path: Path, held: socket.socket) -> None:
    async with serving(path, held) as old, serving(path, held):
        assert await model(path) == "gpt-x"
        draining = asyncio.create_task(old.drain(20))
        for _ in range(20):
            assert await model(path) == "gpt-x"
        await draining


async def test_what_was_accepted_when_the_drain_began_is_served(
    path: Path, held: socket.socket
) -> None:
    """Taken out of the backlog, it is lost if it is not served: nobody else can."""
    for turns in range(8):
        async with serving(path, held) as transport:
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(path))
                for _ in range(turns):
                    await asyncio.sleep(0)
                await transport.drain(0.2)
                assert held_back(held) or not lost_without_a_word(caller)


def held_back(held: socket.socket) -> bool:
    held.setblocking(False)
    try:
        held.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def lost_without_a_word(caller: socket.socket) -> bool:
    caller.settimeout(5)
    try:
        return caller.recv(1) == b""
    except ConnectionResetError:
        return True


async def test_grpcio_cannot_take_one_over(path: Path, held: socket.socket) -> None:
    transport = TRANSPORTS["grpcio"](lambda: RequestStream(table()))
    with pytest.raises(OSError, match="cannot serve a socket"):
        await transport.start(path, held)


def test_only_a_unix_socket_that_listens_is_adopted(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent, socket.create_server(("127.0.0.1", 0)) as tcp:
        for wrong in (silent, tcp):
            with pytest.raises(OSError, match="no Unix socket that listens"):
                _socket.adopt(wrong.fileno())
            assert wrong.fileno() >= 0
            wrong.getsockname()  # still open
    with pytest.raises(OSError, match="Bad file descriptor"):
        _socket.adopt(999)


def test_an_adopted_one_is_not_inherited_again(held: socket.socket) -> None:
    descriptor = os.dup(held.fileno())
    os.set_inheritable(descriptor, True)
    with _socket.adopt(descriptor) as listener:
        assert not listener.get_inheritable()


@pytest.mark.parametrize(
    ("environment", "descriptor"),
    [
        ({"LISTEN_FDS": "1", "LISTEN_PID": "7"}, 3),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "8"}, None),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "7"}, None),
        ({"LISTEN_FDS": "1"}, None),
        ({}, None),
    ],
)
def test_a_service_managers_word(environment: dict[str, str], descriptor: int | None) -> None:
    assert _socket.activated(environment, 7) == descriptor
