"""What the bytes of a peer mean, as a connection tells it."""

from __future__ import annotations

from typing import NamedTuple


class Opened(NamedTuple):
    """A call began; `path` names its method, `timeout` are the seconds that its caller waits."""

    stream: int
    path: str
    timeout: float | None = None


class Message(NamedTuple):
    """A message arrived whole."""

    stream: int
    data: bytes


class HalfClosed(NamedTuple):
    """The peer will send no more messages on this stream."""

    stream: int


class Reset(NamedTuple):
    """The stream is gone; nothing can be sent on it."""

    stream: int


Event = Opened | Message | HalfClosed | Reset
