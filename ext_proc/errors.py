"""Every way in which handling a request can fail, and what the caller is told.

    ProcError                 code, HTTP status and a public message
    ├── CallerFault           4xx: the request is wrong; the same request will fail again
    │   ├── InvalidJson               400  invalid_json
    │   ├── InvalidRequest            400  invalid_request
    │   ├── ParamNotAllowed           400  param_not_allowed
    │   ├── TemplateRequired          400  template_required
    │   ├── MissingVariable           400  missing_variable
    │   ├── UnknownVariable           400  unknown_variable
    │   ├── InvalidVariable           400  invalid_variable
    │   ├── UnsupportedEndpoint       404  unsupported_endpoint
    │   ├── UnsupportedMediaType      415  unsupported_media_type
    │   ├── CompressedBody            415  compressed_body
    │   ├── TemplateFailed            422  template_error
    │   └── TemplateTooExpensive      422  template_too_expensive
    └── OurFault              5xx: the gateway's own trouble
        ├── PlanUnavailable           503  plan_unavailable
        ├── CredentialUnavailable     503  credential_unavailable
        ├── PeerFault                 500  gateway_error (Envoy broke the protocol)
        ├── AnswerUnreadable          502  answer_unreadable (the upstream's answer)
        └── InternalError             500  internal_error
    PlanRejected              never reaches a caller: a plan or a secret that cannot be used
    SnapshotRefused           nor does this: the last known good cannot be read or used

A public message may hold what the *operator* wrote (names of variables in the schema, of allowed
params, of the proxy) and nothing of what the caller sent: not a value, not even a field's name.
The JSON is OpenAI's: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

from typing import ClassVar

import orjson


class ProcError(Exception):
    """A failure with a stable `code`, an HTTP `status` and a message that a caller may read."""

    code: ClassVar[str]
    status: ClassVar[int]
    type: ClassVar[str]
    message: ClassVar[str]

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        self.public_message = self.message if message is None else message
        self.param = param
        super().__init__(self.public_message)

    def body(self, request_id: str) -> bytes:
        """The error as JSON, in the shape that OpenAI's clients read, with the request's id."""
        error = {
            "message": self.public_message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
            "request_id": request_id,
        }
        return orjson.dumps({"error": error})


class CallerFault(ProcError):
    type = "invalid_request_error"
    status = 400


class InvalidJson(CallerFault):
    code = "invalid_json"
    message = "The request body must be one JSON object in UTF-8."


class InvalidRequest(CallerFault):
    code = "invalid_request"
    message = "The request body does not have the expected shape."


class ParamNotAllowed(CallerFault):
    code = "param_not_allowed"
    message = "This proxy does not take that parameter."


class TemplateRequired(CallerFault):
    code = "template_required"
    message = "This proxy has no prompt template."


class MissingVariable(CallerFault):
    code = "missing_variable"
    message = "A variable of the prompt template is missing."


class UnknownVariable(CallerFault):
    code = "unknown_variable"
    message = "The prompt template does not take that variable."


class InvalidVariable(CallerFault):
    code = "invalid_variable"
    message = "A variable of the prompt template has a wrong value."


class UnsupportedEndpoint(CallerFault):
    code = "unsupported_endpoint"
    status = 404
    message = "This proxy does not serve this endpoint."


class UnsupportedMediaType(CallerFault):
    code = "unsupported_media_type"
    status = 415
    message = "The content-type must be application/json."


class CompressedBody(CallerFault):
    code = "compressed_body"
    status = 415
    message = "The request body must not be compressed."


class TemplateFailed(CallerFault):
    code = "template_error"
    status = 422
    message = "The prompt template cannot be rendered with these variables."


class TemplateTooExpensive(CallerFault):
    code = "template_too_expensive"
    status = 422
    message = "Rendering the prompt template with these variables takes too much time or memory."


class OurFault(ProcError):
    type = "server_error"
    status = 500


class PlanUnavailable(OurFault):
    code = "plan_unavailable"
    status = 503
    message = "The gateway is not ready to serve this proxy. Try again in a moment."


class CredentialUnavailable(OurFault):
    code = "credential_unavailable"
    status = 503
    message = "The credential of this proxy is not available at the moment."


class PeerFault(OurFault):
    code = "gateway_error"
    message = "The gateway could not process this request."


class AnswerUnreadable(OurFault):
    code = "answer_unreadable"
    status = 502
    message = "The gateway could not read the answer of the upstream."


class InternalError(OurFault):
    code = "internal_error"
    message = "The gateway failed to process this request."


class SnapshotRefused(Exception):
    """A snapshot, or its key, that this worker cannot use; the text is for the operator's log."""


class PlanRejected(Exception):
    """A plan or a secret that this worker cannot use; the text is for the operator (a NACK)."""
