"""What the compiler must know of the gateway itself, beside the resources."""

from __future__ import annotations

from dataclasses import dataclass, field

from control_plane.resources.addresses import AddressPolicy

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How every Envoy of this control plane listens and what it takes.

    Attributes:
        host, port: where Envoy listens for callers.
        max_body_bytes: the largest request body that is held until it is complete, which holds a
            picture of 20 MB in base64; above it 413 `body_too_large`. In the native lane bodies
            stream through, of any size.
        max_parsed_body_bytes: the same on `/v1`, where Envoy itself reads `model` in the body.
        ext_proc_timeout: seconds that a worker may take for one answer; above it 504.
        idle_timeout: seconds that an unused connection of a caller is kept. At least 75, so that a
            load balancer in front (60 s) gives a connection up before Envoy closes it.
        request_timeout: seconds that a caller may take to send a request.
        addresses: where upstreams may point, and what their names may resolve to.
        system_ca: on Envoy's machine, the certificates that are trusted where an upstream names
            none of its own.
    """

    host: str = "127.0.0.1"
    port: int = 10000
    max_body_bytes: int = 32 * MIB
    max_parsed_body_bytes: int = MIB
    ext_proc_timeout: float = 2.0
    idle_timeout: float = 90.0
    request_timeout: float = 60.0
    addresses: AddressPolicy = field(default_factory=AddressPolicy)
    system_ca: str = "/etc/ssl/certs/ca-certificates.crt"
