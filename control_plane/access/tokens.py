"""API tokens: `nt_{id}_{secret}`, shown once; only a SHA-256 of the secret is kept.

The secret has 256 random bits, so a plain hash is as good as a slow one: there is nothing to guess.
A token is the record `tokens/{id}`; deleting the record revokes it wherever the store is followed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

import orjson
from pydantic import AwareDatetime, Field, ValidationError, model_validator

from control_plane.access.model import EVERY_TEAM, Caller, Role
from control_plane.access.policy import FOR_EVERY_TEAM
from control_plane.resources import InvalidResource, Problem
from control_plane.resources._base import Name, Part
from control_plane.store import Snapshot, StoredRecord

_FAMILY: Final = "tokens"
_TOKEN: Final = re.compile(rb"nt_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_ID: Final = re.compile(r"[0-9a-f]{12}", re.ASCII)
_NOBODY: Final = hashlib.sha256(b"the hash of no token").hexdigest()
"""Compared in the place of an unknown token's hash."""


class TokenRequest(Part):
    """What is asked of a new token.

    Attributes:
        name: what people call it; a DNS label.
        teams: whose resources the roles are for; `*` alone: every team's.
        expiresAt: when it stops working (RFC 3339, with an offset); left out: never.
    """

    name: Name
    roles: tuple[Role, ...] = Field(min_length=1, max_length=len(get_args(Role)), strict=False)
    teams: tuple[Name | Literal["*"], ...] = Field(min_length=1, max_length=64, strict=False)
    expiresAt: AwareDatetime | None = Field(default=None, strict=False)

    @model_validator(mode="after")
    def _teams_fit_roles(self) -> TokenRequest:
        if EVERY_TEAM in self.teams and len(self.teams) > 1:
            raise ValueError('teams holds names, or "*" alone')
        wide = sorted(FOR_EVERY_TEAM.intersection(self.roles))
        if wide and self.teams != (EVERY_TEAM,):
            raise ValueError(f'{wide[0]} is a role for every team: write teams: ["*"]')
        return self

    @classmethod
    def of(cls, document: object, now: float) -> TokenRequest:
        """The request that a document holds; raises InvalidResource."""
        try:
            found = cls.model_validate(document)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
            problems = [_problem(".".join(map(str, d["loc"])), d["msg"]) for d in details]
            raise InvalidResource(tuple(problems), "token") from None
        if found.expiresAt is not None and found.expiresAt.timestamp() <= now:
            raise InvalidResource((_problem("expiresAt", "is over already"),), "token")
        return found


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept; times are Unix seconds.

    Attributes:
        digest: SHA-256 of the secret, hexadecimal.
        created_by: id of the caller who made it.
    """

    id: str
    name: str
    roles: tuple[Role, ...]
    teams: tuple[str, ...]
    created_at: int
    created_by: str
    expires_at: int | None
    digest: str = field(repr=False)

    @property
    def record(self) -> str:
        return record_name(self.id)

    @property
    def caller(self) -> Caller:
        roles, teams = frozenset(self.roles), frozenset(self.teams)
        return Caller(self.id, self.name, roles, teams, self.expires_at)

    def encode(self) -> bytes:
        return orjson.dumps(self._document() | {"hash": self.digest}, option=orjson.OPT_SORT_KEYS)

    def shown(self) -> dict[str, Any]:
        """For people: without the hash, times in RFC 3339."""
        times = {"createdAt": rfc3339(self.created_at), "expiresAt": rfc3339(self.expires_at)}
        return self._document() | times

    def _document(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "roles": self.roles,
            "teams": self.teams,
            "createdAt": self.created_at,
            "createdBy": self.created_by,
            "expiresAt": self.expires_at,
        }


def mint(request: TokenRequest, by: Caller, now: float) -> tuple[Token, str]:
    """A new token, and the text that its owner sends; the text is kept nowhere."""
    token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    expires = request.expiresAt
    token = Token(
        token_id,
        request.name,
        request.roles,
        request.teams,
        int(now),
        by.id,
        None if expires is None else int(expires.timestamp()),
        _digest(secret.encode()),
    )
    return token, f"nt_{token_id}_{secret}"


def record_name(token_id: str) -> str:
    return f"{_FAMILY}/{token_id}"


def is_token_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def is_token(text: bytes) -> bool:
    """Whether it has the form of an API token."""
    return _TOKEN.fullmatch(text) is not None


def tokens_in(snapshot: Snapshot) -> Iterator[Token]:
    """Every token, in the order of their making; expired ones, too."""
    found = (decode(token_id, record.value) for token_id, record in snapshot.family(_FAMILY))
    yield from sorted(filter(None, found), key=lambda token: (token.created_at, token.id))


def find(token_id: str, records: Mapping[str, StoredRecord]) -> Token | None:
    """The token with an id; None as well when its record cannot be read: that admits nobody."""
    record = records.get(record_name(token_id))
    return None if record is None else decode(token_id, record.value)


def proven(text: bytes, records: Mapping[str, StoredRecord]) -> Token | None:
    """The token that `text` is. Whatever is sent costs one hash and one comparison at most.

    How long it takes tells at best whether an id exists, and ids are no secret.
    """
    match = _TOKEN.fullmatch(text)
    token_id, secret = (match[1].decode(), match[2]) if match else ("", text)
    token = find(token_id, records)
    good = hmac.compare_digest(_digest(secret), token.digest if token else _NOBODY)
    return token if good and match else None


def decode(token_id: str, value: bytes) -> Token | None:
    """The token of a record; None when it cannot be read."""
    try:
        found = orjson.loads(value)
        token = Token(
            id=str(found["id"]),
            name=str(found["name"]),
            roles=tuple(role for role in found["roles"] if role in get_args(Role)),
            teams=tuple(map(str, found["teams"])),
            created_at=int(found["createdAt"]),
            created_by=str(found["createdBy"]),
            expires_at=None if found["expiresAt"] is None else int(found["expiresAt"]),
            digest=str(found["hash"]),
        )
    except (ValueError, TypeError, LookupError):
        return None
    return token if token.id == token_id and token.digest.isascii() else None


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


def rfc3339(seconds: int | None) -> str | None:
    """Unix seconds as people read them; None stays None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _problem(where: str, message: str) -> Problem:
    return Problem(where or "$", message.removeprefix("Value error, "), "Correct the value")
