"""The admin token: who has it may do everything."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

_LEAST: Final = 16
_BEARER: Final = re.compile(rb"bearer +([\x21-\x7e]+)", re.IGNORECASE)


class TokenError(Exception):
    """The token file cannot be used; the message says what to do."""


class AdminToken:
    """Keeps only a hash of the token, and compares in constant time."""

    def __init__(self, token: str) -> None:
        self._digest = _digest(token.encode())

    def admits(self, authorization: list[bytes]) -> bool:
        """Whether the values of the request's `Authorization` headers are `Bearer TOKEN`, once."""
        match = _BEARER.fullmatch(authorization[0].strip()) if len(authorization) == 1 else None
        return match is not None and hmac.compare_digest(_digest(match[1]), self._digest)


def load_or_create_token(path: Path) -> AdminToken:
    """The token in a file of mode 0600; a new one if there is no file.

    Raises:
        TokenError: others may read the file, it is no file, or holds no token.
    """
    try:
        return _load(path)
    except FileNotFoundError:
        _create(path)
        return _load(path)
    except OSError as error:
        raise TokenError(f"cannot read the admin token {path}: {error.strerror}") from error


def _load(path: Path) -> AdminToken:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise TokenError(f"the admin token {path} is not a regular file")
        if mode & 0o077:
            raise TokenError(
                f"the admin token {path} has mode {stat.S_IMODE(mode):04o}, so others can use it: "
                f"delete the file, so that a new token is made, or run `chmod 600 {path}`"
            )
        text = file.read(4096).decode("ascii", "replace").strip()
    if len(text) < _LEAST or not all("!" <= character <= "~" for character in text):
        raise TokenError(
            f"the admin token {path} is not {_LEAST} or more visible ASCII characters: delete the "
            "file, so that a new token is made"
        )
    return AdminToken(text)


def _create(path: Path) -> None:
    """Write a new token; appears under its name only when complete, and never replaces another."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass  # somebody else was faster; theirs is the token
    except OSError as error:
        raise TokenError(f"cannot create the admin token {path}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
