"""What the API itself refuses, beside what resources and the store refuse.

    ApiError                    500  internal
    ├── Unauthorized            401  unauthorized           no token, or not a good one
    ├── Forbidden               403  forbidden              not for the token's roles or teams
    ├── NotFound                404  not_found              no such resource, revision or path
    ├── UnknownKind             404  unknown_kind           the path names no kind that exists
    ├── MethodNotAllowed        405  method_not_allowed
    ├── Unreadable              500  unreadable             stored, but it cannot be read
    ├── BadRequest              400  bad_request            a header or a query parameter
    │   └── BadDocument         400  bad_document           the body is not JSON or YAML as allowed
    ├── UnsupportedMediaType    415  unsupported_media_type
    ├── BodyTooLarge            413  body_too_large         nothing was written
    ├── RequestTimeout          408  request_timeout        its body came too slowly
    ├── VersionConflict         409  version_conflict       the resource is at another revision
    ├── NotCompiled             422  not_compilable         stored or tried, but cannot be compiled
    └── RejectedByNode          422  rejected_by_node       stored, but a node refuses it

An error's message and problems go to the caller as they are: nobody may put a secret in them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import ClassVar

from control_plane.resources import KINDS, Key, Problem


class ApiError(Exception):
    """Base of the API's own errors: `code` is stable, `status` is the HTTP status."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        problems: Iterable[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.problems = tuple(problems)
        self.headers = dict(headers or {})
        self.own: Collection[Key] = ()
        """What the request itself names, so that its caller may be told of it, stored or not."""


class Unauthorized(ApiError):
    """The request carries no token, or one that is unknown, expired or revoked."""

    code = "unauthorized"
    status = 401

    @classmethod
    def now(cls) -> Unauthorized:
        message = "send a token that is known and not expired, as Authorization: Bearer TOKEN"
        return cls(message, headers={"www-authenticate": "Bearer"})


class Forbidden(ApiError):
    """The token is good, but its roles or teams do not allow this; nothing was written."""

    code = "forbidden"
    status = 403


class NotFound(ApiError):
    """What the path names does not exist."""

    code = "not_found"
    status = 404

    @classmethod
    def of(cls, key: Key) -> NotFound:
        plain = len(key.name) <= 63 and key.name.isascii() and key.name.isprintable()
        return cls(f"{key if plain else 'it'} does not exist")


class UnknownKind(NotFound):
    """The path names a kind that does not exist."""

    code = "unknown_kind"

    def __init__(self) -> None:
        super().__init__(f"no such kind; the kinds are {', '.join(sorted(KINDS))}")


class Unreadable(ApiError):
    """The resource is stored, but in a way that this process cannot read."""

    code = "unreadable"


class MethodNotAllowed(ApiError):
    """The path exists, but not for this method."""

    code = "method_not_allowed"
    status = 405


class BadRequest(ApiError):
    """A header or a query parameter is not as it must be."""

    code = "bad_request"
    status = 400


class BadDocument(BadRequest):
    """The body is not JSON or YAML, or uses a part of them that is not allowed."""

    code = "bad_document"


class UnsupportedMediaType(ApiError):
    """The content type is none that this path takes."""

    code = "unsupported_media_type"
    status = 415


class BodyTooLarge(ApiError):
    """The body, or what it would become, is larger than allowed."""

    code = "body_too_large"
    status = 413


class RequestTimeout(ApiError):
    """The body did not come, or came too slowly; nothing was written."""

    code = "request_timeout"
    status = 408


class VersionConflict(ApiError):
    """The resource is not at the revision that the caller expects; nothing was written."""

    code = "version_conflict"
    status = 409


class NotCompiled(ApiError):
    """The resources are right in themselves, but Envoy's configuration cannot be made of them."""

    code = "not_compilable"
    status = 422


class RejectedByNode(ApiError):
    """The change is stored, but a node refuses it; the last good configuration stays live."""

    code = "rejected_by_node"
    status = 422
