"""Who may do what: callers and their tokens, roles as a table, and the audit trail.

Pure: no HTTP, no etcd, no clock of its own. `control_plane.api` asks before every answer and inside
every transaction.
"""

from control_plane.access.audit import HEAD, Act, Trail, Verification, written
from control_plane.access.authentication import Authenticator, Root, is_api_token
from control_plane.access.model import EVERY_TEAM, ROLES, ROOT, Caller, Role
from control_plane.access.policy import (
    Area,
    Verb,
    enters,
    grants,
    may,
    roles_in,
    roles_with,
    sees_everything,
)
from control_plane.access.tokens import (
    Token,
    TokenRequest,
    is_token_id,
    mint,
    record_name,
    rfc3339,
    tokens_in,
)

__all__ = [
    "EVERY_TEAM",
    "HEAD",
    "ROLES",
    "ROOT",
    "Act",
    "Area",
    "Authenticator",
    "Caller",
    "Role",
    "Root",
    "Token",
    "TokenRequest",
    "Trail",
    "Verb",
    "Verification",
    "enters",
    "grants",
    "is_api_token",
    "is_token_id",
    "may",
    "mint",
    "record_name",
    "rfc3339",
    "roles_in",
    "roles_with",
    "sees_everything",
    "tokens_in",
    "written",
]
