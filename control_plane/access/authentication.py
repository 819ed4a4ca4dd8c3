"""`Authorization: Bearer …` → the caller, or nobody."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from control_plane.access import tokens
from control_plane.access.model import ROOT, Caller
from control_plane.store import Snapshot, StoredRecord

_BEARER: Final = re.compile(rb"bearer +([\x21-\x7e]+)", re.IGNORECASE)


class Root(Protocol):
    """`control_plane.api.AdminToken`."""

    def admits(self, authorization: list[bytes]) -> bool: ...


class Authenticator:
    """Knows the root token and, from the records of a snapshot, all others.

    Args:
        clock: Unix seconds; for expiry.
    """

    def __init__(self, root: Root, clock: Callable[[], float] = time.time) -> None:
        self._root = root
        self._clock = clock

    def caller(
        self, authorization: list[bytes], records: Mapping[str, StoredRecord]
    ) -> Caller | None:
        """Who sends these values of the header `Authorization`; None: nobody known."""
        if self._root.admits(authorization):
            return ROOT
        token = tokens.proven(_bearer(authorization), records)
        return token.caller if token is not None and self._lasts(token.caller) else None

    def still(self, caller: Caller, snapshot: Snapshot) -> Caller | None:
        """The caller as the snapshot knows him: None when the token was revoked since."""
        if caller is ROOT:
            return ROOT
        token = tokens.find(caller.id, snapshot.records)
        return token.caller if token is not None and self._lasts(token.caller) else None

    def _lasts(self, caller: Caller) -> bool:
        return caller.expires_at is None or self._clock() < caller.expires_at


def is_api_token(authorization: list[bytes]) -> bool:
    """Whether it is a token that only the store can know."""
    return tokens.is_token(_bearer(authorization))


def _bearer(authorization: list[bytes]) -> bytes:
    match = _BEARER.fullmatch(authorization[0].strip()) if len(authorization) == 1 else None
    return match[1] if match else b""
