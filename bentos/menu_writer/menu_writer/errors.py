"""Everything that can go wrong, in the words and the shape a caller sees.

    ServiceError
    ├── RequestError           the caller's fault
    │   ├── InvalidJson        400
    │   ├── InvalidRequest     422   a field is missing, unknown, mistyped or out of range
    │   ├── ContextTooLong     400
    │   ├── InvalidToken       401
    │   ├── UnknownModel       404
    │   └── BodyTooLarge       413
    ├── Overloaded             503   too many requests wait, or one waited too long
    └── EngineFailure          500   llama.cpp said no; what it said goes to the log only

Messages are written here, once: none of them is ever built from what a caller sent. The shape is
OpenAI's: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

from typing import Any


class ServiceError(Exception):
    """`status` is the HTTP status, `code` is stable, `param` is a name from our own schema or None."""

    status = 500
    type = "server_error"
    code = "internal_error"
    message = "The service failed. The log says why."

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        self.message = message or type(self).message
        self.param = param
        super().__init__(self.message)

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        return {}


class RequestError(ServiceError):
    status = 400
    type = "invalid_request_error"


class InvalidJson(RequestError):
    code = "invalid_json"
    message = "The body is not JSON. Send a JSON object with the content type application/json."


class InvalidRequest(RequestError):
    status = 422
    code = "invalid_value"


class ContextTooLong(RequestError):
    code = "context_length_exceeded"
    message = "The prompt does not fit into the model's context. Shorten it."


class InvalidToken(RequestError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"
    message = "The bearer token is missing or wrong. Send `Authorization: Bearer <token>`."

    def headers(self) -> dict[str, str]:
        return {"www-authenticate": "Bearer"}


class UnknownModel(RequestError):
    status = 404
    code = "model_not_found"
    message = "This service has no model of that name. GET /v1/models lists what it has."


class BodyTooLarge(RequestError):
    status = 413
    code = "body_too_large"
    message = "The body is larger than this service accepts."


class Overloaded(ServiceError):
    status = 503
    code = "overloaded"
    message = "The model is busy and the request could not wait any longer. Try again in a moment."

    def headers(self) -> dict[str, str]:
        return {"retry-after": "2"}


class EngineFailure(ServiceError):
    code = "engine_failure"
    message = "The model could not answer."
