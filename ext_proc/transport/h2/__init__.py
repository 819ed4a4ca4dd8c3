"""HTTP/2 with gRPC on it, without I/O: see `connection`."""

from ext_proc.transport.h2.connection import (
    Connection,
    Event,
    HalfClosed,
    Limits,
    Message,
    Opened,
    Reset,
)
from ext_proc.transport.h2.frames import Code
from ext_proc.transport.h2.grpc import Status

__all__ = [
    "Code",
    "Connection",
    "Event",
    "HalfClosed",
    "Limits",
    "Message",
    "Opened",
    "Reset",
    "Status",
]
