"""The public names, the light install, and both clients against one scripted gateway."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

import naru
from naru import (
    ApiError,
    AsyncClient,
    CallTimeout,
    Client,
    ConnectFailed,
    ConnectionLost,
    InvalidAnswer,
    InvalidRequest,
    NotFound,
    RateLimited,
    Retry,
    Unavailable,
    Usage,
)

pytestmark = pytest.mark.anyio

Handler = Callable[[httpx.Request], httpx.Response]
ANSWER = {
    "choices": [{"message": {"role": "assistant", "content": "따뜻한 한 그릇"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
}
AT_ONCE = Retry(first=0.0)


class Both:
    """The same call by both clients; every test runs once for each."""

    def __init__(self, which: str) -> None:
        self._sync = which == "sync"

    async def run(
        self, handler: Handler, *args: Any, key: str | None = None, **variables: Any
    ) -> Any:
        transport = httpx.MockTransport(handler)
        if self._sync:
            with Client("http://gate", key, retry=AT_ONCE, transport=transport) as client:
                return client.proxy("menu-copy").run(*args, **variables)
        async with AsyncClient("http://gate", key, retry=AT_ONCE, transport=transport) as aclient:
            return await aclient.proxy("menu-copy").run(*args, **variables)

    async def stream(self, handler: Handler, **variables: Any) -> tuple[list[str], Any]:
        transport = httpx.MockTransport(handler)
        if self._sync:
            with Client("http://gate", retry=AT_ONCE, transport=transport) as client:
                stream = client.proxy("menu-copy").stream(**variables)
                return list(stream), stream
        async with AsyncClient("http://gate", retry=AT_ONCE, transport=transport) as aclient:
            astream = aclient.proxy("menu-copy").stream(**variables)
            return [piece async for piece in astream], astream


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


def error(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"error": {"message": "No.", "type": "t", "param": "variables.mood", "code": code}}
    return httpx.Response(status, json=body, headers=headers)


class Script:
    """Answers, in order; an exception is raised. Keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A streamed body in given pieces, that may break."""

    def __init__(self, *pieces: bytes, then: Exception | None = None) -> None:
        self._pieces, self._then = pieces, then

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._then:
            raise self._then

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def events(*pieces: bytes, then: Exception | None = None) -> httpx.Response:
    headers = {"content-type": "text/event-stream; charset=utf-8", "x-request-id": "r-1"}
    return httpx.Response(200, headers=headers, stream=Body(*pieces, then=then))


def delta(text: str, finish: str | None = None) -> bytes:
    choice = {"delta": {"content": text}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}\n\n".encode()


def test_all_names_what_is_exported() -> None:
    public = {n for n, v in vars(naru).items() if not n.startswith("_") and hasattr(v, "__mro__")}
    assert public == set(naru.__all__)
    assert naru.__all__ == sorted(naru.__all__)


def test_every_error_is_exported_and_below_naru_error() -> None:
    from naru import errors

    found = {n: v for n, v in vars(errors).items() if isinstance(v, type)}
    assert set(found) <= set(naru.__all__)
    assert all(issubclass(v, naru.NaruError) for v in found.values())


def test_the_light_install_imports_nothing_of_the_server() -> None:
    code = (
        "import sys; import naru, naru.cli, naru.up, naru.up.system; "
        "heavy = {'pydantic', 'fastapi', 'grpc', 'google.protobuf', 'control_plane', 'ext_proc', "
        "'msgspec', 'cryptography', 'envoy', 'uvicorn'}; print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


async def test_run_sends_variables_params_and_key(client: Both) -> None:
    gateway = Script(httpx.Response(200, json=ANSWER, headers={"x-request-id": "r-7"}))
    result = await client.run(
        gateway, key="nk_secret", dish="김치볶음밥", mood="warm", params={"max_tokens": 5}
    )
    (request,) = gateway.requests
    assert (request.method, request.url.path) == ("POST", "/p/menu-copy")
    assert request.headers["authorization"] == "Bearer nk_secret"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.content) == {
        "variables": {"dish": "김치볶음밥", "mood": "warm"},
        "params": {"max_tokens": 5},
    }
    assert (result.text, result.request_id) == ("따뜻한 한 그릇", "r-7")
    assert (result.raw, result.usage) == (ANSWER, Usage(3, 4, 7))


async def test_a_variable_may_have_any_name(client: Both) -> None:
    gateway = Script(httpx.Response(200, json=ANSWER))
    await client.run(gateway, {"params": "x", "self": "y"}, mood="warm")
    sent = json.loads(gateway.requests[0].content)
    assert sent == {"variables": {"params": "x", "self": "y", "mood": "warm"}}


async def test_no_key_sends_no_authorization(client: Both) -> None:
    gateway = Script(httpx.Response(200, json=ANSWER))
    await client.run(gateway)
    assert "authorization" not in gateway.requests[0].headers


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "missing_variable", InvalidRequest),
        (413, "body_too_large", InvalidRequest),
        (401, "no_key", naru.Unauthorized),
        (403, "forbidden", naru.Forbidden),
        (404, "not_found", NotFound),
        (429, "rate_limited", RateLimited),
        (500, "internal_error", naru.ServerError),
        (502, "upstream_reset", naru.UpstreamFailed),
        (503, "upstream_unavailable", Unavailable),
        (504, "upstream_timeout", naru.UpstreamSlow),
    ],
)
async def test_errors_are_typed_and_not_retried(
    client: Both, status: int, code: str, expected: type[ApiError]
) -> None:
    gateway = Script(error(status, code, **{"x-request-id": "r-9", "retry-after": "3"}))
    with pytest.raises(ApiError) as caught:
        await client.run(gateway)
    found = caught.value
    assert type(found) is expected
    assert (found.status, found.code, found.param) == (status, code, "variables.mood")
    assert (found.request_id, found.retry_after) == ("r-9", 3.0)
    assert str(found) == f"No. ({status}, {code}, request r-9)"


async def test_an_error_that_is_not_json_is_still_typed(client: Both) -> None:
    with pytest.raises(Unavailable, match="status 503"):
        await client.run(Script(httpx.Response(503, text="<html>")))


@pytest.mark.parametrize(
    "failure",
    [
        lambda: error(503, "plan_unavailable"),
        lambda: error(503, "not_processed"),
        lambda: httpx.ConnectError("refused"),
    ],
)
async def test_what_no_model_has_seen_is_tried_again(
    client: Both, failure: Callable[[], httpx.Response | Exception]
) -> None:
    gateway = Script(failure(), failure(), httpx.Response(200, json=ANSWER))
    assert (await client.run(gateway)).text == "따뜻한 한 그릇"
    assert len(gateway.requests) == 3


async def test_retries_are_bounded(client: Both) -> None:
    gateway = Script(*[httpx.ConnectError("refused")] * 9)
    with pytest.raises(ConnectFailed, match="refused"):
        await client.run(gateway)
    assert len(gateway.requests) == 3


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (httpx.ReadError("reset"), ConnectionLost),
        (httpx.RemoteProtocolError("gone"), ConnectionLost),
        (httpx.ReadTimeout("slow"), CallTimeout),
    ],
)
async def test_what_a_model_may_have_seen_is_not_tried_again(
    client: Both, failure: Exception, expected: type[Exception]
) -> None:
    gateway = Script(failure)
    with pytest.raises(expected):
        await client.run(gateway)
    assert len(gateway.requests) == 1


async def test_an_answer_that_is_not_json(client: Both) -> None:
    with pytest.raises(InvalidAnswer):
        await client.run(Script(httpx.Response(200, text="hello")))


async def test_stream_gives_text_however_the_bytes_are_cut(client: Both) -> None:
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 1, "total_tokens": 2}}\r\n\r\n'
    whole = delta("김치") + b": ping\n\n" + delta("볶음밥", "stop") + usage + b"data: [DONE]\n\n"
    for size in (1, 2, 3, 7, len(whole)):
        pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
        gateway = Script(events(*pieces))
        texts, stream = await client.stream(gateway, dish="x")
        assert texts == ["김치", "볶음밥"]
        assert (stream.usage, stream.request_id) == (Usage(1, 0, 2), "r-1")
    assert json.loads(gateway.requests[0].content) == {"variables": {"dish": "x"}, "stream": True}


async def test_a_stream_that_breaks_off_is_an_error(client: Both) -> None:
    with pytest.raises(ConnectionLost, match="before the answer"):
        await client.stream(Script(events(delta("half"))))
    with pytest.raises(ConnectionLost, match="broke"):
        await client.stream(Script(events(delta("half"), then=httpx.ReadError("reset"))))


async def test_an_error_within_a_stream(client: Both) -> None:
    broken = b'data: {"error": {"message": "out of memory", "code": "boom"}}\n\n'
    with pytest.raises(ApiError, match="out of memory") as caught:
        await client.stream(Script(events(delta("half"), broken)))
    assert caught.value.code == "boom"


async def test_a_refused_stream_is_a_typed_error(client: Both) -> None:
    with pytest.raises(NotFound):
        await client.stream(Script(error(404, "not_found")))


async def test_an_upstream_that_does_not_stream_gives_one_piece(client: Both) -> None:
    texts, stream = await client.stream(Script(httpx.Response(200, json=ANSWER)))
    assert texts == ["따뜻한 한 그릇"]
    assert stream.usage == Usage(3, 4, 7)


def test_leaving_a_stream_early_closes_it() -> None:
    response = events(delta("one"), delta("two", "stop"))
    with Client("http://gate", transport=httpx.MockTransport(Script(response))) as client:
        with client.proxy("menu-copy").stream() as pieces:
            assert next(pieces) == "one"
        assert response.is_closed


async def test_leaving_an_async_stream_early_closes_it() -> None:
    response = events(delta("one"), delta("two", "stop"))
    async with AsyncClient(
        "http://gate", transport=httpx.MockTransport(Script(response))
    ) as client:
        async with client.proxy("menu-copy").stream() as pieces:
            assert await anext(pieces) == "one"
        assert response.is_closed


@pytest.mark.parametrize("name", ["", "a/b", "../x", "A", "a?b", "a b", "-a"])
def test_a_name_that_cannot_be_a_proxy(name: str) -> None:
    with Client("http://gate") as client, pytest.raises(ValueError, match="not a proxy's name"):
        client.proxy(name)


def test_an_endless_number_is_refused_before_it_is_sent() -> None:
    gateway = Script()
    with (
        Client("http://gate", transport=httpx.MockTransport(gateway)) as client,
        pytest.raises(ValueError, match="Out of range"),
    ):
        client.proxy("menu-copy").run(price=float("nan"))
    assert gateway.requests == []


def test_the_key_is_in_no_repr() -> None:
    with Client("http://gate", "nk_secret") as client:
        assert "nk_secret" not in repr(client) + repr(client.proxy("a"))
