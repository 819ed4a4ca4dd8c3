"""A program: calls `xds:///TARGET` once per line of its input, and prints what answered.

It runs in a process of its own because gRPC reads `GRPC_XDS_BOOTSTRAP` once per process.
"""

from __future__ import annotations

import sys

import grpc


def main(target: str) -> None:
    with grpc.insecure_channel(f"xds:///{target}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/tests.Echo/Who")
        for _ in sys.stdin:
            try:
                print(call(b"", timeout=20, wait_for_ready=True).decode(), flush=True)
            except grpc.RpcError as error:
                print(f"{error.code()}: {error.details()}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
