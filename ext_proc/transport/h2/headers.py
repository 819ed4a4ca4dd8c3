"""Header blocks of requests: decoded by `hpack`, and remembered where that is safe.

A block of bytes always means the same only if the peer's encoder has no dynamic table. This server
announces a table size of 0; once the peer has acknowledged that and has shrunk its table, equal
blocks are equal requests, and Envoy's are.
Specification: RFC 7541; RFC 9113, sections 4.3 and 6.5.2.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import hpack

from ext_proc.transport.h2 import frames, grpc
from ext_proc.transport.h2.errors import ConnectionFault
from ext_proc.transport.h2.frames import Code

_MOST_CONTINUATIONS: Final = 64  # frames of one block; empty ones would be endless
_REMEMBERED: Final = 512
_MOST_REMEMBERED: Final = 1024  # bytes of one block


class Request(NamedTuple):
    """What a server must know of a block; trailers have none of it.

    Attributes:
        path: empty if there is none.
        timeout: in seconds.
    """

    path: str = ""
    timeout: float | None = None


class OpenBlock:
    """The block of a HEADERS frame that CONTINUATION frames must follow (section 4.3).

    Attributes:
        flags: of the HEADERS frame.
        fragments: what has come.
    """

    __slots__ = ("_frames", "_max_size", "_stream", "flags", "fragments")

    def __init__(self, stream: int, flags: int, fragment: bytes, max_size: int) -> None:
        self.flags = flags
        self.fragments = bytearray(fragment)
        self._stream = stream
        self._max_size = max_size
        self._frames = 0

    def add(self, kind: int, stream: int, fragment: bytes) -> None:
        """The next frame, whatever it is.

        Raises:
            ConnectionFault: it does not continue the block, or the block is too long.
        """
        if kind != frames.CONTINUATION or stream != self._stream:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a header block is interrupted")
        self.fragments += fragment
        self._frames += 1
        if len(self.fragments) > self._max_size or self._frames > _MOST_CONTINUATIONS:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "a header block is too long")


class HeaderBlocks:
    """The decoder of one connection. `max_size` is of the decoded list, in bytes."""

    def __init__(self, max_size: int) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=max_size)
        self._known: dict[bytes, Request] = {}
        self._stateless = False

    def acknowledged(self) -> None:
        """The peer knows that it may have no table; its next block must say that it has none.

        From here on a block that can be decoded proves that there is none, and that there will be
        none. Before, a peer that has shrunk its table may grow it again.
        """
        self._decoder.max_allowed_table_size = 0
        self._stateless = True

    def request(self, block: bytes) -> Request:
        """
        Raises:
            ConnectionFault: the block cannot be decoded.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        request = self._decode(block)
        if self._stateless and len(block) <= _MOST_REMEMBERED:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[block] = request
        return request

    def _decode(self, block: bytes) -> Request:
        try:
            fields = self._decoder.decode(block, raw=True)
        except hpack.OversizedHeaderListError as error:
            raise ConnectionFault(Code.ENHANCE_YOUR_CALM, "too many header fields") from error
        except hpack.HPACKError as error:
            raise ConnectionFault(Code.COMPRESSION_ERROR, "undecodable header block") from error
        path, timeout = "", None
        for name, value in fields:
            if name == b":path":
                path = bytes(value).decode("latin-1")
            elif name == b"grpc-timeout":
                timeout = grpc.seconds(bytes(value))
        return Request(path, timeout)
