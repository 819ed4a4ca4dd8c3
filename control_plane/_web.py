"""The API's HTTP server: uvicorn, with bounds on what connections may hold that never ask anything.

A connection beyond the bound is answered 503 and closed; so is, with 408, one whose request does
not get to the end of its headers. The body's deadline is the API's own (`api/_edge.py`).

Source: RFC 9110, section 15.5.9; RFC 9112, section 9.5.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections.abc import Iterator
from typing import Final

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS: Final = 1024
FILES_SHARE: Final = 2
"""Of the files that this process may open, one in so many may be a connection to the API."""
HEAD_SECONDS: Final = 20.0
"""For the headers of a request, and for what is left of a body that was answered already."""
KEEP_ALIVE_SECONDS: Final = 75
"""A balancer in front (60 s) then closes first."""

_TOO_LATE: Final = b"408 Request Timeout"
_TOO_MANY: Final = b"503 Service Unavailable"


def max_connections() -> int:
    """Far fewer than files may be open: etcd, the nodes' streams and the snapshots need some."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, files // FILES_SHARE)


class Protocol(H11Protocol):
    """One connection; see the module."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > max_connections():
            self._end(_TOO_MANY)
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """The keep-alive's timer ends with the first byte that comes: from there on it is this."""
        unread = self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE
        if self.conn.their_state is not h11.IDLE and not unread:
            self._unwatch()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._expire)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None

    def _expire(self) -> None:
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self._end(_TOO_LATE)
        else:
            self.transport.close()

    def _end(self, status: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        )
        self.transport.close()


class Web(uvicorn.Server):
    """uvicorn, but signals are this process's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def stop(self, serving: asyncio.Task[None]) -> None:
        self.should_exit = True
        await asyncio.wait({serving})


def web_config(app: FastAPI, drain: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(drain)),
    )
