"""llama.cpp, in this process: the blocking call that the engine runs in its thread.

xllamacpp's `Server` always opens llama.cpp's own HTTP port as well, which answers anybody: it would
be a way around the bearer token. So that port is a Unix socket in a directory of ours that is removed
as soon as it is open: nothing can connect to it any more. A random API key guards the moment between.

Why one slot: on few cores, batching four requests took longer (4.2 s) than answering them one
after another (3.5 s), and the few-shot prefix that all prompts share is then always cached.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from .generation import Generation
from .settings import CONTEXT_TOKENS

Chunk = dict[str, Any]
OnChunk = Callable[[Chunk], bool]


class Llama(Protocol):
    """`complete` blocks until the text ends or `on_chunk` says True (stop)."""

    def complete(self, request: Chunk, on_chunk: OnChunk) -> None: ...


class LlamaServer:
    """The real one. Loading takes about a second; raises RuntimeError when the file is no model."""

    def __init__(self, model_file: Path, threads: int) -> None:
        import xllamacpp

        with tempfile.TemporaryDirectory(prefix="menu-writer-") as directory:
            place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                # By file descriptor: a socket's path is at most 107 bytes, a data directory's is not.
                socket = f"/proc/self/fd/{place}/closed.sock"
                self._server = xllamacpp.Server(_params(xllamacpp, model_file, threads, socket))
            finally:
                os.close(place)

    def complete(self, request: Chunk, on_chunk: OnChunk) -> None:
        self._server.handle_completions(request, on_chunk)


def _params(xllamacpp: Any, model_file: Path, threads: int, socket: str) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(model_file)
    params.hostnames = [socket]
    params.api_keys = [secrets.token_urlsafe(32)]
    params.endpoint_slots = False
    params.ui = False
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = 1
    # Threads that wait for each other by spinning starve when something else needs a core: two of them
    # on two busy cores wrote 12 tokens/s, one wrote 70 (and two on idle cores 80).
    params.cpuparams.n_threads = max(1, threads // 2)
    params.cpuparams_batch.n_threads = threads
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    params.cache_ram_mib = 0  # the default keeps up to 8 GiB of old prompts in memory
    params.n_ctx_checkpoints = 4
    params.warmup = False  # saves start-up time; the first request is 0.1 s slower
    params.use_jinja = False  # the base model has no chat template
    params.verbosity = -1  # llama.cpp's log would hold prompts
    return params


def to_request(generation: Generation) -> Chunk:
    """llama.cpp's request for `generation`, always streamed so that it can be stopped."""
    request: Chunk = {
        "prompt": generation.prompt,
        "max_tokens": generation.max_tokens,
        "temperature": generation.temperature,
        "top_p": generation.top_p,
        "presence_penalty": generation.presence_penalty,
        "frequency_penalty": generation.frequency_penalty,
        "stop": list(generation.stop),
        "stream": True,
        "stream_options": {"include_usage": True},
        "timings_per_token": True,
    }
    if generation.seed is not None:
        request["seed"] = generation.seed % 2**32
        request["cache_prompt"] = False  # read anew or from the cache, a prompt differs in the last bits
    return request | _PLAIN if generation.plain else request


# Without these, one in ten menu texts fell into `<em>` tags or said one word until the limit.
_PLAIN: Chunk = {
    "min_p": 0.1,
    "repeat_penalty": 1.15,
    "repeat_last_n": 24,
    "logit_bias": [
        [text, False]
        for text in ("<", " <", "</", " </", "<em>", "<strong>", "<i>", "<b>", "<u>", "<br>", "<p>", "<span>")
    ],
}
