"""The real thing: `bentoml serve`, the real model, a free port. One start serves every test here."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from conftest import TOKEN, wait_until

BENTO = Path(__file__).parents[1]
START_SECONDS = 90


def command(port: int) -> list[str]:
    """As README gives it."""
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    flags = ["--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "5"]
    return [bentoml, "serve", "service:MenuWriter", "--host", "127.0.0.1", "--port", str(port), *flags]


def environment(data: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    (data / "tmp").mkdir(exist_ok=True)
    own = {"BENTOML_HOME": str(data / "bentoml"), "TMPDIR": str(data / "tmp"), "BENTOML_DO_NOT_TRACK": "True"}
    return kept | own | {"PYTHONDONTWRITEBYTECODE": "1"} | more


@dataclass(frozen=True)
class Running:
    process: psutil.Popen
    url: str
    log: Path

    def worker(self) -> psutil.Process:
        (worker,) = self.process.children()
        return worker

    def post(self, path: str, body: Any, token: str = TOKEN) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"}
        return httpx.post(self.url + path, json=body, headers=headers, timeout=60)


def start(data: Path) -> Running:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = data / "log"
    with log.open("wb") as output:
        process = psutil.Popen(
            command(port),
            cwd=BENTO,
            env=environment(data, MENU_WRITER_TOKEN=TOKEN),
            stdout=output,
            stderr=output,
        )
    running = Running(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until(lambda: is_ready(running), START_SECONDS)
    except BaseException:
        stop(running)
        raise
    return running


def is_ready(running: Running) -> bool:
    assert running.process.poll() is None, running.log.read_text()
    try:
        return httpx.get(running.url + "/readyz", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


def stop(running: Running) -> None:
    tree = (
        [running.process, *running.process.children(recursive=True)] if running.process.is_running() else []
    )
    running.process.terminate()
    psutil.wait_procs(tree, timeout=15)
    for process in tree:
        if process.is_running():
            process.kill()
    running.process.wait(5)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("data"))
    yield running
    stop(running)


CHAT = {
    "messages": [
        {"role": "user", "content": "The capital of France"},
        {"role": "assistant", "content": "is Paris."},
        {"role": "user", "content": "The capital of Korea"},
    ],
    "max_tokens": 12,
    "temperature": 0,
    "seed": 1,
}


def test_it_answers_with_real_text_and_real_usage(service: Running) -> None:
    answer = service.post("/v1/chat/completions", CHAT).json()
    assert "Seoul" in answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    usage = answer["usage"]
    assert 20 <= usage["prompt_tokens"] <= 40 and 2 <= usage["completion_tokens"] <= 12


def test_streamed_it_says_the_same(service: Running) -> None:
    whole = service.post("/v1/chat/completions", CHAT).json()
    body = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
    lines = service.post("/v1/chat/completions", body).text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]" and len(lines) > 4
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    for part in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert chunks[-1]["usage"][part] == whole["usage"][part]


def test_a_seed_repeats_an_answer_whatever_ran_before(service: Running) -> None:
    body = {"prompt": "Once upon a time there was", "max_tokens": 48, "temperature": 1.0, "seed": 5}
    texts = []
    for other in (None, None, "Something else", "Once upon a time there was a"):
        if other:
            service.post("/v1/completions", {"prompt": other, "max_tokens": 2})
        texts.append(service.post("/v1/completions", body).json()["choices"][0]["text"])
    assert len(set(texts)) == 1
    assert service.post("/v1/completions", body | {"seed": 6}).json()["choices"][0]["text"] != texts[0]


def test_max_tokens_and_stop_bound_a_completion(service: Running) -> None:
    counted = service.post(
        "/v1/completions", {"prompt": "1, 2, 3, 4,", "max_tokens": 5, "temperature": 0}
    ).json()
    assert counted["choices"][0]["finish_reason"] == "length"
    assert counted["usage"]["completion_tokens"] == 5
    stopped = service.post("/v1/completions", {"prompt": "1, 2, 3, 4,", "stop": "7", "temperature": 0}).json()
    assert stopped["choices"][0]["text"].strip(" ,") == "5, 6"
    assert stopped["choices"][0]["finish_reason"] == "stop"


def test_a_wrong_token_and_a_bad_body_are_refused(service: Running) -> None:
    refused = service.post("/v1/chat/completions", CHAT, token="wrong")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    bad = service.post("/v1/chat/completions", {"messages": "zq-callers-text"})
    assert (bad.status_code, bad.json()["error"]["param"]) == (422, "messages")
    assert "zq-callers-text" not in bad.text + service.log.read_text()


def test_too_long_a_prompt_is_refused(service: Running) -> None:
    answer = service.post("/v1/completions", {"prompt": "word " * 4000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_a_hang_up_frees_the_model_for_the_next_request(service: Running) -> None:
    long = {"prompt": "Once upon a time", "max_tokens": 1024, "stream": True, "temperature": 1.5}
    headers = {"authorization": f"Bearer {TOKEN}"}
    with httpx.stream(
        "POST", service.url + "/v1/completions", json=long, headers=headers, timeout=60
    ) as response:
        next(response.iter_raw())
    began = time.monotonic()
    assert service.post("/v1/completions", {"prompt": "Hi", "max_tokens": 1}).status_code == 200
    assert time.monotonic() - began < 5, "1,024 tokens take longer than this"
    wait_until(lambda: "the caller hung up" in service.log.read_text())


def test_the_model_has_no_door_of_its_own(service: Running) -> None:
    """llama.cpp opens a port that asks for no token: it must be out of everybody's reach."""
    worker = service.worker()
    listening = {c.laddr for c in worker.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert {f"http://{address.ip}:{address.port}" for address in listening} == {service.url}
    (own,) = [c for c in worker.net_connections("unix") if c.laddr]
    assert own.laddr.endswith("/closed.sock"), "where it listens; without a path nobody connects"
    temporary = service.log.parent / "tmp"
    assert not list(temporary.glob("**/closed.sock")) and not list(temporary.glob("menu-writer-*"))


def test_the_token_is_on_no_command_line_and_in_no_log(service: Running) -> None:
    lines = [" ".join(p.cmdline()) for p in (service.process, service.worker())]
    assert TOKEN not in "".join(lines) + service.log.read_text()


def test_the_bentos_openapi_document_has_the_endpoints(service: Running) -> None:
    paths = httpx.get(service.url + "/docs.json", timeout=10).json()["paths"]
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models"} <= set(paths)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_quickly_and_leaves_nobody(tmp_path: Path, service: Running, how: signal.Signals) -> None:
    model = next(Path(service.log).parent.glob("bentoml/menu_writer/*.gguf"))
    (tmp_path / "bentoml" / "menu_writer").mkdir(parents=True)
    os.link(model, tmp_path / "bentoml" / "menu_writer" / model.name)
    running = start(tmp_path)
    worker = running.worker()
    running.process.send_signal(how)
    _, alive = psutil.wait_procs([running.process, worker], timeout=10)
    for process in alive:
        process.kill()
    assert alive == []


@pytest.mark.parametrize("token", [None, "", "with space"])
def test_without_a_proper_token_it_refuses_to_start(tmp_path: Path, token: str | None) -> None:
    more = {} if token is None else {"MENU_WRITER_TOKEN": token}
    ended = subprocess.run(
        command(1),
        check=False,
        cwd=BENTO,
        env=environment(tmp_path, **more),
        capture_output=True,
        timeout=60,
        text=True,
    )
    assert ended.returncode == 1
    assert "MENU_WRITER_TOKEN" in ended.stderr and "Traceback" not in ended.stderr
