"""The native transport under nghttp2's h2load: another implementation, and far more at once.

    python -m bench.h2load [REQUESTS]

A unary method that waits for nothing, over a Unix socket: what is measured is the transport.
No Python package carries h2load (Debian: nghttp2-client does), so it is no part of the tests.
Exit status: 1 if a request failed or never reached the method, 2 without h2load.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse

from ext_proc.transport.native import NativeTransport

METHOD: Final = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
REQUESTS: Final = 50_000
SHAPES: Final = ((1, 1), (1, 100), (8, 100), (100, 10))
"""Connections, and calls at once on each."""


class Counting:
    """A method that answers at once."""

    def __init__(self) -> None:
        self.calls = 0
        answer = RateLimitResponse(overall_code=RateLimitResponse.OK)
        self._answer: bytes = answer.SerializeToString()

    async def __call__(self, request: bytes) -> bytes:
        RateLimitRequest.FromString(request)
        self.calls += 1
        return self._answer


async def load(path: Path, body: Path, requests: int, connections: int, streams: int) -> str:
    """What h2load says."""
    process = await asyncio.create_subprocess_exec(
        "h2load", f"--base-uri=unix:{path}", "-n", str(requests), "-c", str(connections),
        "-m", str(streams), "-d", str(body), "-H", "content-type: application/grpc",
        "-H", "te: trailers", f"http://localhost{METHOD}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await process.communicate()
    return said.decode()


async def measure(folder: Path, requests: int) -> bool:
    method, path, body = Counting(), folder / "p.sock", folder / "request"
    message = RateLimitRequest(domain="naru").SerializeToString()
    body.write_bytes(b"\x00" + len(message).to_bytes(4, "big") + message)
    transport = NativeTransport(unary={METHOD: method})
    await transport.start(path)
    good = True
    for connections, streams in SHAPES:
        method.calls, began = 0, time.process_time()
        said = await load(path, body, requests, connections, streams)
        cost = (time.process_time() - began) / requests * 1e6
        counts = re.search(r"requests: .*", said)
        rate = re.search(r"[\d.]+ req/s", said)
        print(f"{connections:>4} x {streams:<4}{rate[0] if rate else '-':>16}  {cost:5.1f} µs CPU")
        print(f"           {counts[0] if counts else said}")
        good &= f" {requests} succeeded, 0 failed" in said and method.calls == requests
    await transport.drain(5)
    return good


def main() -> int:
    if shutil.which("h2load") is None:
        print("h2load is not there: apt-get install nghttp2-client", file=sys.stderr)
        return 2
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    with tempfile.TemporaryDirectory(prefix="naru") as folder:
        return 0 if asyncio.run(measure(Path(folder), requests)) else 1


if __name__ == "__main__":
    sys.exit(main())
