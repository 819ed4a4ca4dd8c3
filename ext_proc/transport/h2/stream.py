"""One HTTP/2 stream of a gRPC call: its windows, its halves, the message that is being received."""

from __future__ import annotations

from collections import deque

from ext_proc.transport.h2.frames import unpack_u32
from ext_proc.transport.h2.grpc import PREFIX, Status


class Refused(Exception):
    """A message that is not taken; the call ends with `status`."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class H2Stream:
    """What a connection knows of a stream.

    Attributes:
        send_window, receive_window: bytes that may be sent, and that the peer may send.
        queue: what waits for the send window, without frame heads.
        trailers: the block to send when the queue is empty.
        ended: the peer has sent all.
    """

    __slots__ = (
        "buffer", "ended", "identity", "queue", "receive_window", "send_window", "started",
        "trailers",
    )  # fmt: skip

    def __init__(self, identity: int, send_window: int, receive_window: int) -> None:
        self.identity = identity
        self.send_window = send_window
        self.receive_window = receive_window
        self.queue: deque[memoryview] = deque()
        self.trailers: bytes | None = None
        self.started = False
        self.ended = False
        self.buffer = bytearray()

    def messages(self, data: bytes, limit: int) -> tuple[list[bytes], Refused | None]:
        """The messages that are complete with `data`; why the next one is not taken, if so.

        Refused are those longer than `limit` bytes, and compressed ones.
        """
        found: list[bytes] = []
        try:
            if not self.buffer:
                whole = _only_message(data, limit)
                if whole is not None:
                    found.append(whole)
                    return found, None
            self.buffer += data
            self._complete(limit, found)
        except Refused as refused:
            return found, refused
        return found, None

    def unqueue(self) -> int:
        """Drop what waits to be sent; its size in bytes."""
        size = sum(map(len, self.queue))
        self.queue.clear()
        return size

    def _complete(self, limit: int, found: list[bytes]) -> None:
        buffer, start = self.buffer, 0
        while len(buffer) - start >= PREFIX:
            end = start + PREFIX + _length(buffer, start, limit)
            if len(buffer) < end:
                break
            found.append(bytes(memoryview(buffer)[start + PREFIX : end]))
            start = end
        if start:
            del buffer[:start]


def _only_message(data: bytes, limit: int) -> bytes | None:
    """The message, if `data` is exactly one: the common case, without a copy into the buffer."""
    if len(data) < PREFIX or _length(data, 0, limit) != len(data) - PREFIX:
        return None
    return data[PREFIX:]


def _length(data: bytes | bytearray, start: int, limit: int) -> int:
    if data[start]:
        raise Refused(Status.UNIMPLEMENTED, "a compressed message")
    length: int = unpack_u32(data, start + 1)[0]
    if length > limit:
        raise Refused(Status.RESOURCE_EXHAUSTED, f"a message above {limit} bytes")
    return length
