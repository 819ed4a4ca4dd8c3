"""`Client`: calling proxies from synchronous code. `_async_client.py` is its twin."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from naru import _wire
from naru._http import CALL_TIMEOUT, client_options, our_errors, path
from naru._retry import Retry
from naru._wire import Result, Usage
from naru.errors import NaruError

_RETRY = Retry()


class Client:
    """A pool of connections to one gateway, safe to share between threads.

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._key = key
        self._retry = retry
        with our_errors():
            self._http = httpx.Client(**client_options(url, timeout), transport=transport)

    def proxy(self, name: str) -> Proxy:
        """The proxy of that name; nothing is sent yet."""
        return Proxy(self, name)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _send(self, path: str, body: bytes, *, stream: bool) -> httpx.Response:
        """The 2xx response, after the retries that are safe."""
        attempt = 1
        while True:
            try:
                return self._send_once(path, body, stream=stream)
            except NaruError as error:
                delay = self._retry.delay(error, attempt)
                if delay is None:
                    raise
            time.sleep(delay)
            attempt += 1

    def _send_once(self, path: str, body: bytes, *, stream: bool) -> httpx.Response:
        with our_errors():
            request = self._http.build_request(
                "POST", path, content=body, headers=_wire.headers(self._key)
            )
            response = self._http.send(request, stream=stream)
            if response.is_success:
                return response
            content = response.read()
        raise _wire.api_error(response.status_code, content, response.headers)


class Proxy:
    """One proxy of a gateway."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._path = path(name)

    def run(
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
        response = self._client._send(self._path, body, stream=False)
        return _wire.result(response.content, response.headers.get("x-request-id", ""))

    def stream(
        self,
        variables: Mapping[str, Any] | None = None,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Stream:
        """Call, and iterate over the answer's text as it is written.

        Raises:
            NaruError: see `naru.errors`; also in the midst of the iteration.
        """
        body = _wire.body({**(variables or {}), **more}, params, stream=True)
        return Stream(self._client._send(self._path, body, stream=True))


class Stream:
    """Pieces of text. To stop early, use it in a `with` statement or `close()` it.

    `usage` is known after the last piece, if the upstream tells it.
    """

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._pieces = self._read()
        self.request_id: str = response.headers.get("x-request-id", "")
        self.usage: Usage | None = None

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def _read(self) -> Iterator[str]:
        content = _wire.StreamReader(self._response.headers)
        with self:
            with our_errors():
                for data in self._response.iter_bytes():
                    for chunk in content.feed(data):
                        self.usage = chunk.usage or self.usage
                        if chunk.text:
                            yield chunk.text
            for chunk in content.end():
                self.usage = chunk.usage or self.usage
                yield chunk.text
