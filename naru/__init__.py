"""Naru: one gateway in front of every AI call. This is the light SDK; the command is `naru`.

from naru import Client

with Client("http://127.0.0.1:10000", key="nk_…") as client:
    print(client.proxy("menu-copy").run(dish="김치볶음밥", mood="warm").text)
    for piece in client.proxy("menu-copy").stream(dish="비빔밥", mood="bold"):
        print(piece, end="")
"""

from naru._async_client import AsyncClient, AsyncProxy, AsyncStream
from naru._client import Client, Proxy, Stream
from naru._retry import Retry
from naru._wire import Result, Usage
from naru.errors import (
    ApiError,
    CallTimeout,
    ConnectFailed,
    ConnectionLost,
    Forbidden,
    InvalidAnswer,
    InvalidRequest,
    NaruError,
    NotFound,
    RateLimited,
    ServerError,
    Unauthorized,
    Unavailable,
    UpstreamFailed,
    UpstreamSlow,
)

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncProxy",
    "AsyncStream",
    "CallTimeout",
    "Client",
    "ConnectFailed",
    "ConnectionLost",
    "Forbidden",
    "InvalidAnswer",
    "InvalidRequest",
    "NaruError",
    "NotFound",
    "Proxy",
    "RateLimited",
    "Result",
    "Retry",
    "ServerError",
    "Stream",
    "Unauthorized",
    "Unavailable",
    "UpstreamFailed",
    "UpstreamSlow",
    "Usage",
]
