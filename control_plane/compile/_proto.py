"""Small helpers to build Envoy messages."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

_LENGTH_DELIMITED: Final = 2
"""The wire type of messages and text."""


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


def serialised(message: Message) -> bytes:
    """The same bytes every time."""
    return bytes(message.SerializeToString(deterministic=True))


def field(message: type[Message], name: str, body: bytes) -> bytes:
    """One field of a message, as it is serialised; `body`: a serialised message, or text."""
    number: int = message.DESCRIPTOR.fields_by_name[name].number
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
