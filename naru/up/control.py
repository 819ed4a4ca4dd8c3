"""What a running `naru up` can be asked to do: a Unix socket in its data directory, for its user.

One request for each connection, a word and a newline; the answer is JSON, a line for each thing
that was done, and ends with `{"done": true}`. Without that line the supervisor has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from naru.up.sockets import listen

NAME: Final = "control.sock"
_LONGEST: Final = 64  # bytes of a request

Tell = Callable[[dict[str, Any]], Awaitable[None]]
Command = Callable[[Tell], Awaitable[None]]
"""Does something, and tells of it step by step; whoever asked may have gone: OSError."""


@contextlib.asynccontextmanager
async def answering(data_dir: Path, commands: Mapping[str, Command]) -> AsyncIterator[None]:
    """Answer `commands` by their words for as long as the block lasts."""

    async def on_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def tell(line: dict[str, Any]) -> None:
            writer.write(json.dumps(line).encode() + b"\n")
            await writer.drain()

        try:
            word = (await reader.readline()).decode("ascii", "replace").strip()
            await commands.get(word, _unknown)(tell)
            await tell({"done": True})
        except (OSError, ValueError):  # it has gone, or sends what is no request
            pass
        finally:
            writer.close()

    with _short(data_dir) as directory:
        # not start_unix_server: from Python 3.13 on it unlinks the path by its short name
        server = await asyncio.start_server(
            on_request, sock=listen(directory / NAME), limit=_LONGEST
        )
    try:
        yield
    finally:
        server.close()
        (data_dir / NAME).unlink(missing_ok=True)


def ask(data_dir: Path, command: str) -> Iterator[dict[str, Any]]:
    """What the `naru up` on a data directory answers, line by line as it does it.

    Raises:
        OSError: none runs there.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        with _short(data_dir) as directory:
            connection.connect(str(directory / NAME))
        connection.sendall(command.encode() + b"\n")
        for line in connection.makefile("rb"):
            yield json.loads(line)


async def _unknown(tell: Tell) -> None:
    await tell({"error": "unknown command"})


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[Path]:
    """Another path to a directory, short enough for a socket in it (proc(5))."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
