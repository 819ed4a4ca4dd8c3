"""What restoring costs: microseconds of CPU per event or document, and of building the tokens.

Events are typical chunks of a chat completion, given one by one and many at once. The kinds differ
in what their text holds; `passed` is a restorer that does nothing, for the loop's own share.

    python -m bench.restore [--events 2000]
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable

from ext_proc.restore import Tokens, restorer

SSE = "text/event-stream"
ROUNDS = 15
TOKENS = {f"[[PERSON_{number}]]": f'김 "{number}"' for number in range(10)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--events", type=int, default=2000)
    count = options.parse_args().events
    tokens = Tokens(TOKENS)
    texts = {
        "no token's character": [" word"],
        "brackets, no token": [" [1]", " a[i]"],
        "new lines, quotes": ["\n", ' "so"'],
        "token in one event": [" [[PERSON_1]] "],
        "token over 3 events": [" [[PER", "SON_", "1]] "],
    }
    streams = {name: [chunk(t) for t in kind] for name, kind in texts.items()}
    streams["escaped Korean"] = [chunk(" 메뉴", ascii_only=True)]
    streams["function arguments"] = [call('"dish": "'), call("bibim"), call('bap", ')]
    print(f"{'µs of CPU per event':<24}{'one by one':>12}{'20 at once':>12}")
    print(f"{'passed':<24}{each('audio/mpeg', tokens, [chunk(' word')] * count, 1):>12.2f}")
    for name, kind in streams.items():
        events = [kind[number % len(kind)] for number in range(count)]
        print(
            f"{name:<24}{each(SSE, tokens, events, 1):>12.2f}{each(SSE, tokens, events, 20):>12.2f}"
        )
    print(f"\nJSON of {len(answer()) / 1000:.0f} kB, a token in every tenth string: ", end="")
    print(f"{each('application/json', tokens, [answer()], 1):.0f} µs")
    print(f"building 10 tokens: {cost(lambda: [Tokens(TOKENS) for _ in range(100)]) / 100:.1f} µs")


def each(content_type: str, tokens: Tokens, events: list[bytes], at_once: int) -> float:
    """Microseconds per event."""
    chunks = [b"".join(events[at : at + at_once]) for at in range(0, len(events), at_once)]

    def run() -> None:
        answer = restorer(content_type, tokens)
        for data in chunks:
            answer.feed(data)
        answer.finish()

    return cost(run) / len(events)


def cost(work: Callable[[], object]) -> float:
    """Microseconds of CPU, the median of some rounds."""
    gc.disable()
    taken = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    gc.enable()
    return statistics.median(taken) * 1e6


def chunk(text: str, ascii_only: bool = False) -> bytes:
    return event({"role": "assistant", "content": text}, ascii_only)


def call(arguments: str) -> bytes:
    return event({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]})


def event(delta: dict[str, object], ascii_only: bool = False) -> bytes:
    value = {
        "id": "chatcmpl-BkYt2vQm3hUq0fXWq1oV8sZr5aD9e",
        "object": "chat.completion.chunk",
        "created": 1750000000,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_34a54ae93c",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}],
    }
    return b"data: " + json.dumps(value, ensure_ascii=ascii_only).encode() + b"\n\n"


def answer() -> bytes:
    rows = [
        {"name": f"dish {n}", "price": n * 100, "by": f"[[PERSON_{n % 10}]]" if n % 5 == 0 else "x"}
        for n in range(500)
    ]
    return json.dumps(
        {"choices": [{"message": {"content": "text " * 1000}}], "rows": rows}
    ).encode()


if __name__ == "__main__":
    main()
