"""What calling a gateway can fail with.

    NaruError
    ├── ConnectFailed          no connection to the gateway: nothing was sent
    ├── ConnectionLost         the connection broke, so the call may have been handled
    ├── CallTimeout            no answer in time: the call may still be handled
    ├── InvalidAnswer          the answer is not what this client understands
    └── ApiError               the gateway, or the upstream behind it, answered with an error
        ├── InvalidRequest     400, 413, 415, 422 and any other 4xx
        ├── Unauthorized       401  no key, or not a valid one
        ├── Forbidden          403  the key may not do this
        ├── NotFound           404  no such proxy, or no such path behind it
        ├── RateLimited        429  `retry_after` says when to come back
        └── ServerError        5xx
            ├── UpstreamFailed 502  the upstream's answer cannot be used
            ├── Unavailable    503  try again later
            └── UpstreamSlow   504  the upstream did not answer in time

`ApiError.code` is stable, and says more than the class (`plan_unavailable`, `missing_variable`).
"""

from __future__ import annotations


class NaruError(Exception):
    """Base of everything that this package raises on purpose."""


class ConnectFailed(NaruError):
    pass


class ConnectionLost(NaruError):
    pass


class CallTimeout(NaruError):
    pass


class InvalidAnswer(NaruError):
    pass


class ApiError(NaruError):
    """An error that came as an answer.

    `status` is the HTTP status (200 if a stream failed midway), `param` the part of the request
    that is wrong, `request_id` what to tell an operator, `retry_after` seconds, if given.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        type: str = "",
        param: str | None = None,
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        facts = [str(self.status), self.code, f"request {self.request_id}" * bool(self.request_id)]
        return f"{self.message} ({', '.join(filter(None, facts))})"


class InvalidRequest(ApiError):
    pass


class Unauthorized(ApiError):
    pass


class Forbidden(ApiError):
    pass


class NotFound(ApiError):
    pass


class RateLimited(ApiError):
    pass


class ServerError(ApiError):
    pass


class UpstreamFailed(ServerError):
    pass


class Unavailable(ServerError):
    pass


class UpstreamSlow(ServerError):
    pass
