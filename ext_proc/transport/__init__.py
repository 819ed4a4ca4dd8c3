"""Transports: how Envoy's callouts reach `ext_proc.stream` and unary methods.

One file per transport; a new one is a new file and a line in `TRANSPORTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ext_proc.transport._model import (
    Stream,
    StreamFactory,
    Transport,
    TransportFactory,
    Unary,
)
from ext_proc.transport._socket import activated, adopt
from ext_proc.transport.grpcio import GrpcioTransport
from ext_proc.transport.native import NativeTransport

TRANSPORTS: Final[Mapping[str, TransportFactory]] = MappingProxyType(
    {"grpcio": GrpcioTransport, "native": NativeTransport}
)

__all__ = [
    "TRANSPORTS",
    "Stream",
    "StreamFactory",
    "Transport",
    "TransportFactory",
    "Unary",
    "activated",
    "adopt",
]
