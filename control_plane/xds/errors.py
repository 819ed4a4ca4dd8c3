"""Errors of the xDS server.

XdsError
└── BadRequest      the peer's fault: its stream ends with this gRPC status and text
    ├── NotAMessage     the bytes are no (Delta)DiscoveryRequest
    ├── NoNode          the first request of a stream carries no node id
    ├── BadNodeId       the node's id is not printable ASCII
    ├── NoType          a request carries no type URL
    ├── NotSupported    a part of the protocol that is not spoken here
    └── TooMuch         more types or names than one stream may ask for, or too long ones
"""

from __future__ import annotations

from typing import ClassVar

import grpc


class XdsError(Exception):
    """Base of all errors of this package."""


class BadRequest(XdsError):
    """The peer broke the protocol; `str(error)` is safe to send to it."""

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INVALID_ARGUMENT


class NotAMessage(BadRequest):
    def __init__(self, expected: str) -> None:
        super().__init__(f"the message is not a {expected}")


class NoNode(BadRequest):
    def __init__(self) -> None:
        super().__init__("the first request of a stream must carry node.id")


class BadNodeId(BadRequest):
    def __init__(self) -> None:
        super().__init__("node.id must be printable ASCII")


class NoType(BadRequest):
    def __init__(self) -> None:
        super().__init__("every request on an aggregated stream must carry type_url")


class NotSupported(BadRequest):
    status = grpc.StatusCode.UNIMPLEMENTED

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} are not supported")


class TooMuch(BadRequest):
    status = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"one stream may ask for at most {limit} {what}")
