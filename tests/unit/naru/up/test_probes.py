"""Whether something answers on a Unix socket: the product's own transports, and what is none."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ext_proc.stream import RequestStream
from ext_proc.transport import TRANSPORTS
from naru.up import probes
from naru.up.sockets import listen
from tests.unit.ext_proc.make import table

pytestmark = pytest.mark.anyio


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="naru") as directory:
        yield Path(directory) / "p.sock"


@pytest.mark.parametrize("name", sorted(TRANSPORTS))
async def test_every_transport_answers(name: str, path: Path) -> None:
    transport = TRANSPORTS[name](lambda: RequestStream(table()))
    await transport.start(path)
    try:
        assert await probes.http2_answers(path)()
    finally:
        await transport.drain(0)
    assert not await probes.http2_answers(path)()


async def test_a_socket_that_nobody_serves_does_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "_PING_PATIENCE", 0.05)
    with listen(path):
        assert await probes.unix_accepts(path)()  # the kernel does
        assert not await probes.http2_answers(path)()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\x06"])
async def test_what_is_no_http2_does_not(path: Path, answer: bytes) -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(talk, path):
        assert not await probes.http2_answers(path)()
