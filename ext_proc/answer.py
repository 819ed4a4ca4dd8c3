"""One answer's exchange with Envoy, in the duplex lane: headers, then the body chunk by chunk.

Nothing is held back but what could be the beginning of a token, so a caller reads a stream as it
comes. A chunk may get no answer, and the last one may bring all that was held.
Mode FULL_DUPLEX_STREAMED of
https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/filters/http/ext_proc/v3/processing_mode.proto
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    HeadersResponse,
    HttpBody,
    HttpHeaders,
    ProcessingRequest,
    ProcessingResponse,
    StreamedBodyResponse,
    TrailersResponse,
)

from ext_proc.errors import AnswerUnreadable, PeerFault
from ext_proc.restore import Restorer, Tokens, restorer

_HEADERS = ProcessingResponse(
    response_headers=HeadersResponse(
        response=CommonResponse(header_mutation=HeaderMutation(remove_headers=["content-length"]))
    )
)
_TRAILERS = ProcessingResponse(response_trailers=TrailersResponse())
Responses = tuple[ProcessingResponse, ...]


class AnswerStream:
    """The state of one answer; `done` once its end has been sent on.

    Where there are no tokens it passes as it is.
    """

    __slots__ = ("_restorer", "_tokens", "done")

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._restorer: Restorer | None = None
        self.done = False

    def receive(self, request: ProcessingRequest) -> Responses:
        """What is sent on for a message.

        Raises:
            ProcError: the answer cannot be restored, or Envoy broke the protocol.
        """
        phase = request.WhichOneof("request")
        if phase == "response_body":
            return self._on_body(request.response_body)
        if phase == "response_headers":
            return self._on_headers(request.response_headers)
        if phase == "response_trailers":
            return self._on_trailers()
        if phase == "request_body":  # the end of the request, a second time
            return ()
        raise PeerFault

    def _on_headers(self, message: HttpHeaders) -> Responses:
        if self._restorer is not None:
            raise PeerFault
        self._restorer = self._restorer_for(message.headers.headers)
        self.done = message.end_of_stream
        return (_HEADERS,)

    def _restorer_for(self, headers: Sequence[HeaderValue]) -> Restorer:
        if self._tokens and _value(headers, "content-encoding") not in ("", "identity"):
            raise AnswerUnreadable
        return restorer(_value(headers, "content-type"), self._tokens)

    def _on_body(self, message: HttpBody) -> Responses:
        if self._restorer is None:
            raise PeerFault
        data = self._restorer.feed(message.body)
        if message.end_of_stream:
            data += self._restorer.finish()
            self.done = True
        elif not data:
            return ()
        return (_chunk(data, last=message.end_of_stream),)

    def _on_trailers(self) -> Responses:
        rest = b"" if self._restorer is None else self._restorer.finish()
        self.done = True
        return (_chunk(rest, last=False), _TRAILERS) if rest else (_TRAILERS,)


def _value(headers: Sequence[HeaderValue], name: str) -> str:
    """The value of a header, in lower case; the empty string if there is none."""
    for header in headers:
        if header.key == name:
            value: str = header.raw_value.decode("latin-1") or header.value
            return value.strip().lower()
    return ""


def _chunk(data: bytes, *, last: bool) -> ProcessingResponse:
    streamed = StreamedBodyResponse(body=data, end_of_stream=last)
    mutation = BodyMutation(streamed_response=streamed)
    return ProcessingResponse(
        response_body=BodyResponse(response=CommonResponse(body_mutation=mutation))
    )
