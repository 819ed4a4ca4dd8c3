"""Reading a pipe with asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

_AT_ONCE = 65536


async def read_pipe(read_end: int) -> AsyncIterator[bytes]:
    """What is written to the pipe, until its last writer is gone; then the pipe is closed."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
    )
    try:
        while data := await reader.read(_AT_ONCE):
            yield data
    finally:
        transport.close()
