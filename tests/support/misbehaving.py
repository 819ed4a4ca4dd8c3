"""An ext_proc server that does what no worker should, each time it is asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    ProcessingRequest,
    ProcessingResponse,
    TrailersResponse,
)

_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
Behaviour = Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]


@contextmanager
def misbehaving(path: Path, behaviour: Behaviour) -> Iterator[None]:
    """A server on the Unix socket `path` that handles every stream so."""
    server = grpc.server(ThreadPoolExecutor(16))
    handler = grpc.stream_stream_rpc_method_handler(behaviour)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_SERVICE, {"Process": handler}),)
    )
    server.add_insecure_port(f"unix:{path}")
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait(5)


@contextmanager
def dying(path: Path) -> Iterator[None]:
    """A process that takes a request and is no more: its connections end without a word."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                seen = b""
                while b"variables" not in seen and (data := connection.recv(65536)):
                    seen += data

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def closes_early(requests: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
    """The end with OK, before any answer: alone, it would send the body on as it came."""
    next(requests)
    return iter(())


def closes_at_once(_requests: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
    return iter(())


def aborts(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    next(requests)
    context.abort(grpc.StatusCode.INTERNAL, "on purpose")


def says_garbage(_requests: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
    yield b"\xff\xff\xff\xff"


def hangs(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    gone = threading.Event()
    context.add_callback(gone.set)
    gone.wait(30)
    return iter(())


def says(*answers: ProcessingResponse) -> Behaviour:
    """Answers the first message with these."""

    def behave(requests: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
        next(requests)
        for answer in answers:
            yield answer.SerializeToString()

    return behave


def body(data: bytes | None = None, **metadata: str) -> ProcessingResponse:
    """An answer to the body, with dynamic metadata `naru`."""
    common = CommonResponse()
    if data is not None:
        common.body_mutation.CopyFrom(BodyMutation(body=data))
    answer = ProcessingResponse(request_body=BodyResponse(response=common))
    for name, value in metadata.items():
        fields = answer.dynamic_metadata.fields["naru"].struct_value.fields
        fields[name].string_value = value
    return answer


def forging(name: str, value: str) -> ProcessingResponse:
    """An answer that sets a header instead."""
    option = HeaderValueOption(header=HeaderValue(key=name, raw_value=value.encode()))
    mutation = HeaderMutation(set_headers=[option])
    response = CommonResponse(header_mutation=mutation)
    return ProcessingResponse(request_body=BodyResponse(response=response))


HEADERS = ProcessingResponse(request_headers=HeadersResponse())
ANSWER_HEADERS = ProcessingResponse(response_headers=HeadersResponse())
TRAILERS = ProcessingResponse(request_trailers=TrailersResponse())


def first(requests: Iterator[bytes]) -> ProcessingRequest:
    """The first message of a stream."""
    message: Any = ProcessingRequest.FromString(next(requests))
    assert isinstance(message, ProcessingRequest)
    return message
