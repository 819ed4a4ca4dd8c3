"""A caller of the API: which token, with which roles, for which teams."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

Role = Literal["admin", "operator", "developer", "prompt-editor", "viewer"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
EVERY_TEAM: Final = "*"
"""In the place of teams' names. No team can have this name, for it is no DNS label."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks; says nothing of the secret.

    Attributes:
        id: the token's, as the audit trail and the log show it.
        name: what the token's maker called it.
        teams: whose resources the roles are for; `*`: everybody's.
        expires_at: Unix seconds; None: never.
    """

    id: str
    name: str
    roles: frozenset[Role]
    teams: frozenset[str]
    expires_at: int | None = None

    def is_of(self, team: str) -> bool:
        return team in self.teams or EVERY_TEAM in self.teams

    def is_of_one_of(self, teams: Iterable[str]) -> bool:
        """Whether any of `teams` is one of the caller's; `*` among them is everybody's."""
        return any(team == EVERY_TEAM or self.is_of(team) for team in teams)


ROOT: Final = Caller("admin-token", "admin-token", frozenset({"admin"}), frozenset({EVERY_TEAM}))
"""Who has the admin token's file: may do everything, also while etcd is away."""
