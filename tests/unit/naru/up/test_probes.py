"""Whether something answers, on a Unix socket or by HTTP: the product's own transports, and what is none."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from ext_proc.stream import RequestStream
from ext_proc.transport import TRANSPORTS
from naru.up import parts, probes
from naru.up.addresses import Address
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


class Server:
    """The next answers of an HTTP server, the last one again and again; None is silence."""

    def __init__(self, *answers: int | Exception | None) -> None:
        self.answers = list(answers)
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            await asyncio.Event().wait()
        return httpx.Response(answer or 0)


@pytest.mark.parametrize("answer", [200, 401, 503, httpx.ReadError("reset")])
async def test_whoever_says_anything_is_alive(answer: int | Exception) -> None:
    assert await probes.http_answers(Server(answer).http, "http://a/healthz", 60)()


@pytest.mark.parametrize("first", [httpx.ConnectError("refused"), httpx.ReadTimeout("late")])
async def test_whoever_is_not_there_yet_has_time(
    first: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "_AGAIN", 0)
    assert await probes.http_answers(Server(first, 200).http, "http://a/healthz", 60)()


@pytest.mark.parametrize("answer", [None, httpx.ConnectError("refused")])
async def test_whoever_stays_silent_is_not(answer: Exception | None) -> None:
    assert not await probes.http_answers(Server(answer).http, "http://a/healthz", 0)()


async def test_the_control_plane_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, float]] = []

    def http_answers(_: httpx.AsyncClient, url: str, patience: float) -> probes.Probe:
        asked.append((url, patience))
        return probes.tcp_accepts("a", 1)

    monkeypatch.setattr(probes, "http_answers", http_answers)
    monkeypatch.setattr(parts, "role_environment", lambda *_: {})
    layout = SimpleNamespace(at={"api": Address("127.0.0.1", 9001)})
    spec = parts.control_plane(cast(Any, layout), cast(Any, None), Server(200).http)
    assert spec.alive is not None
    [(url, patience)] = asked
    assert url == "http://127.0.0.1:9001/healthz"
    assert patience >= 24, "a busy one is well, too"
