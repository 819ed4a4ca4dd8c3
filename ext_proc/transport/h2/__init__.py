"""HTTP/2 with gRPC on it, without I/O: see `connection`."""

from ext_proc.transport.h2.connection import Connection
from ext_proc.transport.h2.events import Event, HalfClosed, Message, Opened, Reset
from ext_proc.transport.h2.frames import Code
from ext_proc.transport.h2.grpc import Status
from ext_proc.transport.h2.limits import DEFAULTS, Limits

__all__ = [
    "DEFAULTS",
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
