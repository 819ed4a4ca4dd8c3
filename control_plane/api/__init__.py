"""The control plane's REST API. `create_app` is the way in; see `/docs` for the calls."""

from control_plane.api._app import create_app
from control_plane.api._metrics import Metrics
from control_plane.api._token import AdminToken, TokenError, load_or_create_token
from control_plane.api.errors import (
    ApiError,
    BadDocument,
    BadRequest,
    BodyTooLarge,
    Forbidden,
    MethodNotAllowed,
    NotCompiled,
    NotFound,
    RejectedByNode,
    RequestTimeout,
    Unauthorized,
    UnknownKind,
    Unreadable,
    UnsupportedMediaType,
    VersionConflict,
)
from control_plane.api.state import State

__all__ = [
    "AdminToken",
    "ApiError",
    "BadDocument",
    "BadRequest",
    "BodyTooLarge",
    "Forbidden",
    "MethodNotAllowed",
    "Metrics",
    "NotCompiled",
    "NotFound",
    "RejectedByNode",
    "RequestTimeout",
    "State",
    "TokenError",
    "Unauthorized",
    "UnknownKind",
    "Unreadable",
    "UnsupportedMediaType",
    "VersionConflict",
    "create_app",
    "load_or_create_token",
]
