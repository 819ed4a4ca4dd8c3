"""Transports: how Envoy's ext_proc streams reach `ext_proc.stream`.

One file per transport; a new one is a new file and a line in `TRANSPORTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from ext_proc.transport._model import Stream, StreamFactory, Transport
from ext_proc.transport._socket import activated, adopt
from ext_proc.transport.grpcio import GrpcioTransport
from ext_proc.transport.native import NativeTransport

TRANSPORTS: Final[Mapping[str, Callable[[StreamFactory], Transport]]] = MappingProxyType(
    {"grpcio": GrpcioTransport, "native": NativeTransport}
)

__all__ = ["TRANSPORTS", "Stream", "StreamFactory", "Transport", "activated", "adopt"]
