"""A request's body, read whole; `_edge` has bounded it by then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from fastapi import Request

from control_plane.api._documents import MEDIA_TYPES, Syntax, syntax_of
from control_plane.api.errors import UnsupportedMediaType

T = TypeVar("T")
_IN_A_THREAD: Final = 32 * 1024
"""Bytes from which a body is no longer understood between two other requests, but beside them."""


async def read(
    request: Request,
    understand: Callable[[bytes, Syntax], T],
    media_types: Mapping[str, Syntax] = MEDIA_TYPES,
) -> T:
    """What `understand` makes of the body.

    Raises:
        UnsupportedMediaType: the content type is none of `media_types`, or the body is compressed.
        BodyTooLarge: it is larger than its path takes.
    """
    syntax = syntax_of(request.headers.get("content-type"), media_types)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("the body must not be compressed")
    body = await request.body()
    if len(body) < _IN_A_THREAD:
        return understand(body, syntax)
    return await asyncio.to_thread(understand, body, syntax)
