"""What every transport is given, and what it is."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

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


Unary = Callable[[bytes], Awaitable[bytes]]
"""A method: the serialised request → the serialised answer.

What it raises ends the call with INTERNAL, and is told to nobody. It is cancelled when the caller
gives up: by a reset, by its deadline, by closing the connection.
"""

NO_UNARY: Final[Mapping[str, Unary]] = MappingProxyType({})


class Transport(Protocol):
    """A server of ext_proc streams, and of unary methods, on a Unix socket."""

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


class TransportFactory(Protocol):
    """How every transport is made."""

    def __call__(
        self, streams: StreamFactory | None = None, unary: Mapping[str, Unary] = NO_UNARY
    ) -> Transport:
        """Without `streams` there is no ext_proc. `unary` by path: "/package.Service/Method"."""
        ...
