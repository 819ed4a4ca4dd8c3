"""`_edge`: the token, request ids, body limits and our own faults, for every path."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from control_plane.api import _edge
from control_plane.api._edge import OPEN_PATHS, body_seconds
from control_plane.settings import ApiLimits
from tests.support.api import TOKEN, Api, running_api, upstream

pytestmark = pytest.mark.anyio
SECRET = "sk-canary-5a6b7c8d"
OTHERS = ["/api/v1/upstreams", "/api/v1/upstreams/a", "/api/v1/apply", "/api/v1/status",
          "/api/v1/revisions/1", "/api/v1/nothing", "/", "/nothing", "/docs/", "/healthz/",
          "//healthz", "/docs/..", "/redoc", "/docs/oauth2-redirect"]  # fmt: skip


@pytest.mark.parametrize("path", OTHERS)
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("authorization", ["", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
async def test_without_the_token_nothing_is_told(
    shared: Api, path: str, method: str, authorization: str
) -> None:
    response = await shared.http.request(method, path, headers={"authorization": authorization})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    if method != "HEAD":
        assert response.json()["error"]["code"] == "unauthorized"
        assert response.json()["error"]["request_id"] == response.headers["x-request-id"]


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[Api]:
    async with running_api() as api:
        yield api


@pytest.mark.parametrize("path", sorted(OPEN_PATHS))
async def test_probes_and_docs_need_no_token(api: Api, path: str) -> None:
    await api.put(upstream())
    await api.compilation.wait_for(1, 5)
    response = await api.http.get(path, headers={"authorization": ""})
    assert response.status_code == 200
    assert "127.0.0.1:9000" not in response.text


class TestRequestIds:
    async def test_one_is_made(self, api: Api) -> None:
        ids = {(await api.http.get("/healthz")).headers["x-request-id"] for _ in range(3)}
        assert len(ids) == 3

    async def test_the_callers_is_kept(self, api: Api) -> None:
        response = await api.http.get("/nothing", headers={"x-request-id": "my-id_7"})
        assert response.headers["x-request-id"] == "my-id_7"
        assert response.json()["error"]["request_id"] == "my-id_7"

    @pytest.mark.parametrize("given", ["", "a b", "x" * 65, "<script>", "a,b"])
    async def test_a_strange_one_is_replaced(self, api: Api, given: str) -> None:
        response = await api.http.get("/healthz", headers={"x-request-id": given})
        assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


class TestBodies:
    @pytest.fixture
    async def small(self) -> AsyncIterator[Api]:
        async with running_api(ApiLimits(max_document_bytes=1000, max_apply_bytes=3000)) as api:
            yield api

    @pytest.mark.parametrize(
        ("path", "limit"), [("/api/v1/upstreams/openai", 1000), ("/api/v1/apply", 3000)]
    )
    @pytest.mark.parametrize("streamed", [False, True])
    async def test_each_path_has_its_limit(
        self, small: Api, path: str, limit: int, streamed: bool
    ) -> None:
        method = "POST" if path.endswith("apply") else "PUT"
        for size, status in ((limit, 400), (limit + 1, 413)):
            body = b"{" * size
            content: Any = _chunks(body) if streamed else body
            headers = {"content-type": "application/json"}
            response = await small.http.request(method, path, content=content, headers=headers)
            assert response.status_code == status
        assert response.json()["error"]["code"] == "body_too_large"
        assert f"{limit:,} bytes" in response.json()["error"]["message"]

    async def test_the_rest_of_a_body_is_dropped_before_the_answer(self, small: Api) -> None:
        sent = 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(100):
                sent += 1
                yield b"x" * 1000

        headers = {"content-type": "application/json"}
        response = await small.http.put("/api/v1/upstreams/a", content=body(), headers=headers)
        assert (response.status_code, sent) == (413, 100)

    async def test_one_that_pauses_for_too_long_is_given_up(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_edge, "PAUSE_SECONDS", 0)
        response = await asyncio.wait_for(_put(api, _stuck()), 10)
        assert (response.status_code, response.headers["connection"]) == (408, "close")
        assert response.json()["error"]["code"] == "request_timeout"
        assert not api.store.snapshot.stored

    async def test_one_that_trickles_is_given_up(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_edge, "body_seconds", lambda limit: 0)
        response = await asyncio.wait_for(_put(api, _trickle()), 10)
        assert response.status_code == 408

    def test_the_largest_apply_may_come_over_a_slow_line(self) -> None:
        half_a_megabit = 62_500
        limits = ApiLimits()
        assert body_seconds(limits.max_apply_bytes) > limits.max_apply_bytes / half_a_megabit
        assert body_seconds(limits.max_document_bytes) < 90, "what nobody needs, nobody gets"


class TestOurFaults:
    async def test_tell_nothing(self, api: Api, caplog: pytest.LogCaptureFixture) -> None:
        api.store.error = RuntimeError(f"broken with {SECRET}")
        response = await api.put(upstream(), headers={"x-request-id": "find-me"})
        assert response.status_code == 500
        assert response.json() == {
            "error": {
                "code": "internal",
                "message": "the control plane failed; its log has the request id",
                "problems": [],
                "request_id": "find-me",
            }
        }
        assert SECRET not in caplog.text
        faults = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert len(faults) == 1
        assert "find-me" in faults[0]
        assert "RuntimeError" in faults[0]
        assert "resources.py" in faults[0]

    async def test_do_not_stop_the_next_request(self, api: Api) -> None:
        api.store.error = ZeroDivisionError()
        assert (await api.put(upstream())).status_code == 500
        api.store.error = None
        assert (await api.put(upstream())).status_code == 201


async def test_a_path_cannot_forge_a_line_of_the_log(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "naru.api")
    await api.http.get("/api/v1/upstreams/a%0aERROR%20forged%1b[31m" + "x" * 5000)
    [line] = [r.getMessage() for r in caplog.records if r.name == "naru.api"]
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 400


async def test_answers_are_not_to_be_stored(api: Api) -> None:
    assert (await api.call("GET", "/upstreams")).headers["cache-control"] == "no-store"


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 100):
        yield body[start : start + 100]


async def _put(api: Api, body: AsyncIterator[bytes]) -> httpx.Response:
    headers = {"content-type": "application/json"}
    return await api.http.put("/api/v1/upstreams/openai", content=body, headers=headers)


async def _stuck() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.Event().wait()


async def _trickle() -> AsyncIterator[bytes]:
    """A byte at every turn of the event loop, so no single one is late."""
    while True:
        yield b" "
        await asyncio.sleep(0)
