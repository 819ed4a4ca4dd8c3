"""The benchmark's provider finds what a gateway does wrong; otherwise a fast gateway could be a broken one."""

from __future__ import annotations

import json

import pytest

from bench import upstream
from bench.contestants._model import chat_body, run_body, templated_body

KEY = f"authorization: bearer {upstream.KEY}"
MADE = json.dumps(
    {
        "messages": [
            {"role": "system", "content": upstream.SYSTEM},
            {"role": "user", "content": upstream.TEXT},
        ]
    }
).encode()


def head(job: str = "plain", *lines: str) -> bytes:
    return "\r\n".join([f"post /{job}/v1/chat/completions http/1.1", "host: x", *lines]).encode()


@pytest.mark.parametrize(
    ("head_", "body", "found"),
    [
        (head("plain", KEY), chat_body("m"), None),
        (head("plain", KEY, "accept: */*"), chat_body("m"), None),
        (head("template", KEY), MADE, None),
        (head("other", KEY), chat_body("m"), "path"),
        (head("plain"), chat_body("m"), "credential"),
        (head("plain", "authorization: bearer sk-caller-20d5a1"), chat_body("m"), "credential"),
        (head("plain", KEY + "0"), chat_body("m"), "credential"),
        (head("plain", KEY), b"{}", "body"),
        (head("template", KEY), run_body(), "body"),
        (head("template", KEY), templated_body("m"), "template"),
        (head("template", KEY), MADE.replace(b"please", b"{{ dish }}") + b"{{", "template"),
    ],
)  # fmt: skip
def test_mistakes(head_: bytes, body: bytes, found: str | None) -> None:
    assert upstream.mistake(head_, body) == found


def test_bodies_are_one_kilobyte() -> None:
    assert {len(body) for body in (chat_body("m"), run_body(), templated_body("m"))} == {1024}
    with pytest.raises(ValueError, match="too small"):
        chat_body("m", size=100)


def test_the_stream_says_its_text_with_the_mark_split_over_events() -> None:
    chunks = upstream._chunks(20)
    deltas = [json.loads(chunk.split(b"data: ")[1])["choices"][0]["delta"] for chunk in chunks[:20]]
    assert "".join(delta["content"] for delta in deltas) == upstream.stream_text(20)
    assert upstream.MARK in upstream.stream_text(20)
    assert not any(upstream.MARK.encode() in chunk for chunk in chunks)
    assert chunks[-2].endswith(b"data: [DONE]\n\n\r\n")


@pytest.mark.parametrize(
    ("lines", "found"),
    [((), (400, 0.0)), (("x-bench-stream: 7,50",), (7, 0.05)), (("x-bench-stream: 7,0.5", "a: b"), (7, 0.0005))],
)  # fmt: skip
def test_pacing(lines: tuple[str, ...], found: tuple[int, float]) -> None:
    assert upstream.pacing(head("plain", *lines)) == found


class Written(list[bytes]):
    """Stands for a transport."""

    def write(self, data: bytes) -> None:
        self.append(data)


@pytest.mark.parametrize("size", [1, 7, 300, 5000])
def test_requests_that_come_in_pieces(size: int) -> None:
    stats, written = upstream.Stats(), Written()
    connection = upstream.Connection(stats)
    connection._transport = written  # type: ignore[assignment]
    body = chat_body("m")
    chunked = b"400\r\n" + body + b"\r\n0\r\n\r\n"
    first = head("plain", KEY, "transfer-encoding: chunked") + b"\r\n\r\n" + chunked
    second = head("plain", KEY, f"content-length: {len(body)}") + b"\r\n\r\n" + body
    third = head("plain", f"content-length: {len(body)}") + b"\r\n\r\n" + body
    fourth = b"GET /plain/v1/models HTTP/1.1\r\n\r\n"
    data = first + second + third + fourth
    for start in range(0, len(data), size):
        connection.data_received(data[start : start + size])
    statuses = [int(answer.split(b" ")[1]) for answer in written]
    assert statuses == [200, 200, 400, 404]
    assert (stats.requests, dict(stats.mistakes)) == (3, {"credential": 1})
    assert stats.others == {"get /plain/v1/models http/1.1": 1}
