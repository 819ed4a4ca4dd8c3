from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from envoy.config.core.v3.base_pb2 import HeaderMap, HeaderValue
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProcessingResponse,
)

from ext_proc.answer import AnswerStream
from ext_proc.plan import Plan
from ext_proc.restore import Tokens
from ext_proc.stream import RequestStream
from tests.unit.ext_proc.make import PLAN, error, only, request, table

TOKENS = Tokens({"[[SHOP]]": "배민"})
DUPLEX: Plan = msgspec.structs.replace(PLAN, lane="duplex", restore={"[[SHOP]]": "배민"})


def headers(*, end: bool = False, **fields: str) -> ProcessingRequest:
    values = [
        HeaderValue(key=name.replace("_", "-"), raw_value=value.encode())
        for name, value in fields.items()
    ]
    message = HttpHeaders(headers=HeaderMap(headers=values), end_of_stream=end)
    return ProcessingRequest(response_headers=message)


def chunk(data: bytes, *, end: bool = False) -> ProcessingRequest:
    return ProcessingRequest(response_body=HttpBody(body=data, end_of_stream=end))


TRAILERS = ProcessingRequest(response_trailers=HttpTrailers())
JSON = headers(content_type="application/json; charset=utf-8", content_length="30")


def body_of(*responses: ProcessingResponse) -> bytes:
    return b"".join(
        r.response_body.response.body_mutation.streamed_response.body for r in responses
    )


def is_last(response: ProcessingResponse) -> bool:
    return bool(response.response_body.response.body_mutation.streamed_response.end_of_stream)


def test_the_length_of_a_restored_body_is_not_known_before() -> None:
    response = only(AnswerStream(TOKENS).receive(JSON))
    assert response.response_headers.response.header_mutation.remove_headers == ["content-length"]


def test_a_token_over_chunks() -> None:
    stream = AnswerStream(TOKENS)
    stream.receive(JSON)
    first = only(stream.receive(chunk(b'{"a": "x [[SH')))
    assert body_of(first) == b'{"a": "x '
    assert not is_last(first)
    assert not stream.done
    last = only(stream.receive(chunk(b'OP]]"}', end=True)))
    assert body_of(last) == '배민"}'.encode()
    assert is_last(last)
    assert stream.done


def test_a_chunk_that_is_held_whole_gets_no_answer() -> None:
    stream = AnswerStream(TOKENS)
    stream.receive(JSON)
    stream.receive(chunk(b'{"a": "'))
    assert stream.receive(chunk(b"[[S")) == ()
    assert body_of(only(stream.receive(chunk(b'x"}', end=True)))) == b'[[Sx"}'


def test_the_end_can_be_empty() -> None:
    stream = AnswerStream(TOKENS)
    stream.receive(headers(content_type="text/event-stream"))
    stream.receive(chunk(b"data: [DONE]\n\n"))
    last = only(stream.receive(chunk(b"", end=True)))
    assert is_last(last)
    assert stream.done


def test_what_is_held_goes_with_the_end() -> None:
    stream = AnswerStream(TOKENS)
    stream.receive(JSON)
    last = only(stream.receive(chunk(b'{"a": "x [[SH', end=True)))
    assert body_of(last) == b'{"a": "x [[SH'
    assert is_last(last)


def test_what_is_held_goes_before_the_trailers() -> None:
    stream = AnswerStream(TOKENS)
    stream.receive(JSON)
    stream.receive(chunk(b'{"a": "[['))
    rest, trailers = stream.receive(TRAILERS)
    assert body_of(rest) == b"[["
    assert not is_last(rest)
    assert trailers.WhichOneof("response") == "response_trailers"
    assert stream.done


def test_headers_alone() -> None:
    stream = AnswerStream(TOKENS)
    assert len(stream.receive(headers(end=True))) == 1
    assert stream.done


@pytest.mark.parametrize(
    "messages",
    [
        [chunk(b"x")],
        [JSON, JSON],
        [ProcessingRequest()],
        [JSON, ProcessingRequest(request_trailers=HttpTrailers())],
        [headers(content_type="application/json", content_encoding="gzip")],
    ],
)
def test_what_is_not_expected_ends_the_answer(messages: list[ProcessingRequest]) -> None:
    """With an error, by which Envoy ends what it has begun to send."""
    stream = RequestStream(table(DUPLEX))
    only(stream.receive(request({"variables": {"dish": "x"}})))
    answers: list[Any] = [stream.receive(message) for message in messages]
    assert stream.done
    assert error(only(answers[-1]))[0] >= 500


def test_a_stream_of_both_ways() -> None:
    stream = RequestStream(table(DUPLEX))
    first = only(stream.receive(request({"variables": {"dish": "x"}})))
    assert first.WhichOneof("response") == "request_body"
    assert not stream.done
    assert stream.receive(request({"variables": {"dish": "x"}})) == ()  # the end, once more
    only(stream.receive(JSON))
    assert body_of(only(stream.receive(chunk(b'"[[SHOP]]"', end=True)))) == '"배민"'.encode()
    assert stream.done


def test_envoys_own_refusal_passes_as_it_is() -> None:
    """A 413, say: the request's body never came, and the refusal goes through the filter, too."""
    stream = RequestStream(table(DUPLEX))
    only(stream.receive(headers(content_type="application/json")))
    assert body_of(only(stream.receive(chunk(b'"[[SHOP]]"', end=True)))) == b'"[[SHOP]]"'
    assert stream.done


def test_an_answer_keeps_the_plan_that_its_request_began_with() -> None:
    old = table(DUPLEX)
    stream = RequestStream(old)
    stream.receive(request({"variables": {"dish": "x"}}))
    stream._table = replace(old, plans={})
    only(stream.receive(JSON))
    assert body_of(only(stream.receive(chunk(b'"[[SHOP]]"', end=True)))) == '"배민"'.encode()


def test_an_error_late_in_an_answer_still_names_the_request() -> None:
    stream = RequestStream(table(DUPLEX))
    stream.receive(request({"variables": {"dish": "x"}}))
    answer = only(stream.receive(headers(content_encoding="br")))
    assert b"id-of-a-request" in answer.immediate_response.body
