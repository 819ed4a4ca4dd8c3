"""Small helpers to build Envoy messages."""

from __future__ import annotations

from datetime import timedelta

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message


def pack(message: Message) -> Any:
    """The message as `google.protobuf.Any`, with the same bytes every time."""
    packed = Any()
    packed.Pack(message, deterministic=True)
    return packed


def extension(name: str, message: Message) -> TypedExtensionConfig:
    """A configured extension."""
    return TypedExtensionConfig(name=name, typed_config=pack(message))


def duration(length: timedelta | float) -> Duration:
    """A protobuf duration, from a timedelta or seconds."""
    result = Duration()
    result.FromTimedelta(length if isinstance(length, timedelta) else timedelta(seconds=length))
    return result
