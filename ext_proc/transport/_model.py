"""What every transport is given, and what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse


class Stream(Protocol):
    """One exchange. Once `done`, the transport ends the stream with OK; never before."""

    @property
    def done(self) -> bool: ...

    def receive(self, request: ProcessingRequest, /) -> Sequence[ProcessingResponse]:
        """What is answered to a message, if anything. Does not raise."""
        ...


StreamFactory = Callable[[], Stream]
"""Called once per stream, when it opens."""


class Transport(Protocol):
    """A server of ext_proc streams on a Unix socket."""

    async def start(self, path: Path) -> None:
        """Listen on `path`; returns once connections are accepted.

        Raises:
            OSError: it is not possible.
        """
        ...

    async def drain(self, grace: float) -> None:
        """Take no new streams, wait up to `grace` seconds for the open ones, and stop."""
        ...
