"""A DNS server on loopback that answers what a test tells it, for RFC 1035 queries over UDP."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

_FAMILIES = {1: socket.AF_INET, 28: socket.AF_INET6}  # A, AAAA
_TTL = 1


@contextmanager
def running_dns(answers: Mapping[str, Sequence[str]]) -> Iterator[int]:
    """Its port. `answers` may be changed meanwhile; other names have no address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_serve, args=(listening, answers), daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.sendto(b"", listening.getsockname())
            thread.join(10)


def resolver_of(port: int) -> dict[str, Any]:
    """What makes an Envoy ask this server, and no other: a field of its bootstrap."""
    server = {"socketAddress": {"address": "127.0.0.1", "portValue": port}}
    kind = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3"
    config = {"@type": f"{kind}.CaresDnsResolverConfig", "resolvers": [server]}
    return {"name": "envoy.network.dns_resolver.cares", "typedConfig": config}


def _serve(listening: socket.socket, answers: Mapping[str, Sequence[str]]) -> None:
    while True:
        query, peer = listening.recvfrom(4096)
        if not query:
            return
        listening.sendto(_answer(query, answers), peer)


def _answer(query: bytes, answers: Mapping[str, Sequence[str]]) -> bytes:
    name, end = _name_in(query)
    (kind,) = struct.unpack_from("!H", query, end)
    family = _FAMILIES.get(kind)
    found = [a for a in answers.get(name, ()) if (":" in a) == (family == socket.AF_INET6)]
    packed = [socket.inet_pton(family, address) for address in found] if family else []
    header = query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(packed), 0, 0)
    records = (
        b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, _TTL, len(address)) + address
        for address in packed
    )
    return header + query[12 : end + 4] + b"".join(records)


def _name_in(query: bytes) -> tuple[str, int]:
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode().lower())
        at += length + 1
    return ".".join(labels), at + 1
