"""What a peer can do wrong on an HTTP/2 connection.

H2Error
├── ConnectionFault   the connection cannot go on: GOAWAY with the code, then close
└── StreamFault       one stream cannot go on: RST_STREAM with the code
"""

from __future__ import annotations

from ext_proc.transport.h2.frames import Code


class H2Error(Exception):
    """A violation of RFC 9113 by the peer; `code` is what it is told."""

    def __init__(self, code: Code, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code


class ConnectionFault(H2Error):
    """Ends the connection."""


class StreamFault(H2Error):
    """Ends one stream."""

    def __init__(self, stream: int, code: Code, reason: str) -> None:
        super().__init__(code, reason)
        self.stream = stream
