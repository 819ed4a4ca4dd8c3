"""What every transport is given, and what it is."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse


class Stream(Protocol):
    """One exchange. Once `done`, the transport ends the stream with OK; never before."""

    @property
    def done(self) -> bool: ...

    def receive(self, request: ProcessingRequest, /) -> ProcessingResponse | None:
        """The answer to a message, or None if it gets none. Does not raise."""
        ...


StreamFactory = Callable[[], Stream]
"""Called once per stream, when it opens."""


class Transport(Protocol):
    """A server of ext_proc streams on a Unix socket."""

    async def start(self, path: Path, listener: socket.socket | None = None) -> None:
        """Listen on `path`, or serve a `listener` that somebody else has bound and keeps open.

        Returns once connections are accepted.

        Raises:
            OSError: it is not possible.
        """
        ...

    async def drain(self, grace: float) -> None:
        """Take no new streams, wait up to `grace` seconds for the open ones, and stop.

        What waits in the backlog of a given `listener` is left to the process that serves it next.
        """
        ...
