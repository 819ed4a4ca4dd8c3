"""Unary calls: one message each way, and a task from the one to the other.

What a caller does otherwise ends its call as gRPC's status codes say, and cancels the task.
Specification: gRPC's statuscodes.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from ext_proc.transport._model import Unary
from ext_proc.transport.h2 import Connection, Opened, Status

log = logging.getLogger(__name__)


async def answered(unary: Unary, request: bytes) -> bytes | None:
    """The answer; None if there is none, which only the log is told."""
    try:
        return await unary(request)
    except Exception as error:  # one call's trouble must not be the connection's
        log.error("a call failed: %s", type(error).__name__)
        return None


class _Call:
    __slots__ = ("deadline", "task", "unary")

    def __init__(self, unary: Unary) -> None:
        self.unary = unary
        self.task: asyncio.Task[None] | None = None
        self.deadline: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
        if self.task is not None:
            self.task.cancel()


class Calls:
    """Those of one native connection. `write` is called when one is over by itself."""

    def __init__(
        self, methods: Mapping[str, Unary], connection: Connection, write: Callable[[], None]
    ) -> None:
        self._methods = methods
        self._connection = connection
        self._write = write
        self._open: dict[int, _Call] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, event: Opened) -> bool:
        """Whether it is a method of ours."""
        unary = self._methods.get(event.path)
        if unary is None:
            return False
        call = self._open[event.stream] = _Call(unary)
        if event.timeout is not None:
            loop = asyncio.get_running_loop()
            call.deadline = loop.call_later(event.timeout, self._expire, event.stream)
        return True

    def message(self, identity: int, request: bytes) -> None:
        call = self._open.get(identity)
        if call is None:
            return
        if call.task is None:
            call.task = asyncio.create_task(self._run(identity, call.unary, request))
        else:
            self._end(identity, Status.UNIMPLEMENTED, "more than one message")

    def half_closed(self, identity: int) -> None:
        call = self._open.get(identity)
        if call is not None and call.task is None:
            self._end(identity, Status.UNIMPLEMENTED, "no message")

    def reset(self, identity: int) -> None:
        """The caller has given up."""
        call = self._open.pop(identity, None)
        if call is not None:
            call.stop()

    def reset_all(self) -> None:
        for identity in list(self._open):
            self.reset(identity)

    def _end(self, identity: int, status: Status, detail: str) -> None:
        self.reset(identity)
        self._connection.end(identity, status, detail)

    def _expire(self, identity: int) -> None:
        self._end(identity, Status.DEADLINE_EXCEEDED, "the caller's deadline has passed")
        self._write()

    async def _run(self, identity: int, unary: Unary, request: bytes) -> None:
        answer = None
        try:
            answer = await answered(unary, request)
        finally:  # after a cancellation, too, if it was not ours
            call = self._open.pop(identity, None)
            if call is not None:
                self._answer(identity, call, answer)

    def _answer(self, identity: int, call: _Call, answer: bytes | None) -> None:
        if call.deadline is not None:
            call.deadline.cancel()
        if answer is None:
            self._connection.end(identity, Status.INTERNAL, "the call could not be handled")
        else:
            self._connection.send(identity, answer)
            self._connection.end(identity)
        self._write()
