"""One request's exchange with Envoy: a synchronous state machine that knows no transport.

Shape S1: Envoy sends one message, the whole body, and takes one answer; the headers have gone on
before, so the answer sets none. What later filters must know goes into dynamic metadata:

    naru: {plan: <name>, version: <name and content hash>, credential: <header value, if any>}

With that a request of the request lane is over; in the duplex lane the upstream's answer follows
(`answer.py`). It fails closed: whatever is not expected is answered with an error, never with the
caller's body.
https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/ext_proc/v3/external_processor.proto
"""

from __future__ import annotations

import logging
import traceback

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.ext_proc.v3.external_processor_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMutation,
    ImmediateResponse,
    ProcessingRequest,
    ProcessingResponse,
)
from envoy.type.v3.http_status_pb2 import HttpStatus

from ext_proc import contract
from ext_proc.answer import AnswerStream, Responses
from ext_proc.dialect import Request
from ext_proc.errors import InternalError, PeerFault, PlanUnavailable, ProcError
from ext_proc.plans import CompiledPlan, PlanTable
from ext_proc.restore import Tokens

log = logging.getLogger(__name__)

_NO_TOKENS = Tokens({})


class RequestStream:
    """The state of one request: waiting for its body, for its answer, or `done`.

    The stream may be ended with OK once `done` is true, and not before: if it were, Envoy would
    send the body on as it came.
    """

    __slots__ = ("_answer", "_id", "_table", "done")

    def __init__(self, table: PlanTable) -> None:
        self._table = table
        self._answer: AnswerStream | None = None
        self._id = ""
        self.done = False

    def receive(self, request: ProcessingRequest) -> Responses:
        """What is answered to a message; nothing after the end (that of a body can come twice)."""
        if self.done:
            return ()
        try:
            if self._answer is None:
                if request.WhichOneof("request") != "response_headers":
                    return (self._on_request(request),)
                self._answer = AnswerStream(_NO_TOKENS)  # Envoy refuses the request by itself
            responses = self._answer.receive(request)
            self.done = self._answer.done
        except ProcError as error:
            return (self._fail(request, error),)
        except Exception as error:
            log.error("request %s failed: %s", self._id or _request_id(request), _where(error))
            return (self._fail(request, InternalError()),)
        return responses

    def _fail(self, request: ProcessingRequest, error: ProcError) -> ProcessingResponse:
        self.done = True
        return immediate_response(error, self._id or _request_id(request))

    def _on_request(self, request: ProcessingRequest) -> ProcessingResponse:
        phase = request.WhichOneof("request")
        if phase != "request_body":  # always whole, and not the end of the stream before trailers
            log.error("Envoy sent %s instead of a whole body; is its configuration ours?", phase)
            raise PeerFault
        attributes = request.attributes[contract.ATTRIBUTES].fields
        plan = self._table.plans.get(attributes[contract.ROUTE_NAME].string_value)
        if plan is None:
            raise PlanUnavailable
        credential = self._table.credential(plan)
        body = plan.rewrite(
            Request(
                path=attributes[contract.PATH].string_value,
                content_type=attributes[contract.CONTENT_TYPE].string_value or None,
                body=request.request_body.body,
            )
        )
        if plan.tokens is None:
            self.done = True
        else:
            self._answer = AnswerStream(plan.tokens)
            self._id = _request_id(request)  # attributes come with the first message only
        return _body_response(body, plan, credential)


def _body_response(body: bytes, plan: CompiledPlan, credential: str | None) -> ProcessingResponse:
    response = ProcessingResponse(
        request_body=BodyResponse(response=CommonResponse(body_mutation=BodyMutation(body=body)))
    )
    values = response.dynamic_metadata.fields[contract.NAMESPACE].struct_value.fields
    values[contract.PLAN].string_value = plan.name
    values[contract.VERSION].string_value = plan.version
    if credential is not None:
        values[contract.CREDENTIAL].string_value = credential
    return response


def immediate_response(error: ProcError, request_id: str) -> ProcessingResponse:
    """The answer that Envoy gives to the caller at once, without calling an upstream."""
    content_type = HeaderValueOption(
        header=HeaderValue(key="content-type", raw_value=b"application/json"),
        append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return ProcessingResponse(
        immediate_response=ImmediateResponse(
            status=HttpStatus(code=error.status),
            headers=HeaderMutation(set_headers=[content_type]),
            body=error.body(request_id),
            details=f"naru_{error.code}",
        )
    )


def _request_id(request: ProcessingRequest) -> str:
    """The id that Envoy gave the request."""
    attributes = request.attributes[contract.ATTRIBUTES].fields
    return str(attributes[contract.REQUEST_ID].string_value)


def _where(error: BaseException) -> str:
    """An exception's type and place. Not its text, which may hold what the caller sent."""
    frames = traceback.extract_tb(error.__traceback__)
    place = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} in {place}"
