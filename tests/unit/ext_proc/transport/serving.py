"""A transport on a socket, and gRPC's own client of it: what the contract suites share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from ext_proc.stream import RequestStream
from ext_proc.transport import StreamFactory, Transport, TransportFactory, Unary
from tests.unit.ext_proc.make import table


@asynccontextmanager
async def serving(
    make: TransportFactory,
    path: Path,
    streams: StreamFactory | None = None,
    unary: Mapping[str, Unary] | None = None,
) -> AsyncIterator[Transport]:
    """With neither, it serves what the product serves."""
    if unary is None:
        current = table()
        transport = make(streams or (lambda: RequestStream(current)))
    else:
        transport = make(streams, unary)
    await transport.start(path)
    try:
        yield transport
    finally:
        await transport.drain(0)


def dialled(path: Path) -> grpc.aio.Channel:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    return grpc.aio.insecure_channel(f"unix:{path}", options=options)
