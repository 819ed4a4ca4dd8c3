"""`AsyncClient`: calling proxies from asyncio (or trio). `_client.py` is its twin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import anyio
import httpx

from naru import _wire
from naru._http import CALL_TIMEOUT, client_options, our_errors, path
from naru._retry import Retry
from naru._wire import Result, Usage
from naru.errors import NaruError

_RETRY = Retry()


class AsyncClient:
    """A pool of connections to one gateway, safe to share between tasks.

    Args:
        url: the gateway, such as `http://127.0.0.1:10000`.
        key: the caller's key.
        timeout: seconds of silence after which a call is given up.
        transport: how requests travel, for tests.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = CALL_TIMEOUT,
        retry: Retry = _RETRY,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._key = key
        self._retry = retry
        with our_errors():
            self._http = httpx.AsyncClient(**client_options(url, timeout), transport=transport)

    def proxy(self, name: str) -> AsyncProxy:
        """The proxy of that name; nothing is sent yet."""
        return AsyncProxy(self, name)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, *_: type[BaseException] | BaseException | TracebackType | None
    ) -> None:
        await self.aclose()

    async def _send(self, path: str, body: bytes, *, stream: bool) -> httpx.Response:
        """The 2xx response, after the retries that are safe."""
        attempt = 1
        while True:
            try:
                return await self._send_once(path, body, stream=stream)
            except NaruError as error:
                delay = self._retry.delay(error, attempt)
                if delay is None:
                    raise
            await anyio.sleep(delay)
            attempt += 1

    async def _send_once(self, path: str, body: bytes, *, stream: bool) -> httpx.Response:
        with our_errors():
            request = self._http.build_request(
                "POST", path, content=body, headers=_wire.headers(self._key)
            )
            response = await self._http.send(request, stream=stream)
            if response.is_success:
                return response
            content = await response.aread()
        raise _wire.api_error(response.status_code, content, response.headers)


class AsyncProxy:
    """One proxy of a gateway."""

    def __init__(self, client: AsyncClient, name: str) -> None:
        self._client = client
        self._path = path(name)

    async def run(
        self,
        variables: Mapping[str, Any] | None = None,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Result:
        """Call with variables, by keyword or as one mapping, and wait for the whole answer.

        `params` are the model's parameters; the proxy says which of them callers may set.

        Raises:
            NaruError: see `naru.errors`.
        """
        body = _wire.body({**(variables or {}), **more}, params, stream=False)
        response = await self._client._send(self._path, body, stream=False)
        return _wire.result(response.content, response.headers.get("x-request-id", ""))

    def stream(
        self,
        variables: Mapping[str, Any] | None = None,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> AsyncStream:
        """As `run`, but iterate over the answer's text as it is written.

        The call is made when the iteration (or `async with`) begins; that raises `NaruError`s too.
        """
        body = _wire.body({**(variables or {}), **more}, params, stream=True)
        return AsyncStream(lambda: self._client._send(self._path, body, stream=True))


class AsyncStream:
    """Pieces of text. To stop early, use it in an `async with` statement or `aclose()` it.

    `request_id` is known after the first piece; `usage` after the last, if the upstream tells it.
    """

    def __init__(self, open_: Callable[[], Awaitable[httpx.Response]]) -> None:
        self._open = open_
        self._response: httpx.Response | None = None
        self._pieces = self._read()
        self.request_id = ""
        self.usage: Usage | None = None

    def __aiter__(self) -> AsyncIterator[str]:
        return self._pieces

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        if self._response is not None:
            await self._response.aclose()

    async def __aenter__(self) -> Self:
        await self._opened()
        return self

    async def __aexit__(
        self, *_: type[BaseException] | BaseException | TracebackType | None
    ) -> None:
        await self.aclose()

    async def _opened(self) -> httpx.Response:
        if self._response is None:
            self._response = await self._open()
            self.request_id = self._response.headers.get("x-request-id", "")
        return self._response

    async def _read(self) -> AsyncIterator[str]:
        async with self:
            response = await self._opened()
            content = _wire.StreamReader(response.headers)
            with our_errors():
                async for data in response.aiter_bytes():
                    for chunk in content.feed(data):
                        self.usage = chunk.usage or self.usage
                        if chunk.text:
                            yield chunk.text
            for chunk in content.end():
                self.usage = chunk.usage or self.usage
                yield chunk.text
