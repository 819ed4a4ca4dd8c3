"""How much one peer may use up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ext_proc.transport.h2 import frames

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a peer may use up, in bytes unless said otherwise.

    Attributes:
        message: one gRPC message.
        buffered: all messages of a connection that are not complete yet.
        queued: all answers of a connection that wait for the peer's windows.
        header_block: one header block, and the list it decodes to.
        streams: open at once, a number.
        stream_window, connection_window: what may be on its way to us; not below the protocol's
            own 64 KiB - 1, which a peer may use before it has read our settings.
    """

    message: int = 64 * MIB
    buffered: int = 512 * MIB
    queued: int = 512 * MIB
    header_block: int = 64 * 1024
    streams: int = 100_000
    stream_window: int = 8 * MIB
    connection_window: int = 1024 * MIB

    def __post_init__(self) -> None:
        for window in (self.stream_window, self.connection_window):
            if not frames.DEFAULT_WINDOW <= window <= frames.MAX_WINDOW:
                raise ValueError(f"a window of {window} bytes")


DEFAULTS: Final = Limits()
