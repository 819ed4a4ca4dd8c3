"""A writer that changes everything at once, over and over, and remembers what it was told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from bench.chaos._echo import Echo
from tests.support.gateway import document


def generation(number: int, echo: Echo) -> list[dict[str, Any]]:
    """Every part of the proxies says its number: the path, the model, two messages."""
    mark = f"g{number}"
    messages = [{"role": "system", "content": mark}, {"role": "user", "content": f"say {mark}"}]
    use = {"upstreams": [{"name": "chaos", "model": f"m-{mark}"}], "template": "chaos"}
    restore = {"restore": {"[[A]]": "b"}}
    return [
        document("Upstream", "chaos", {"dialect": "openai", "url": echo.url(number)}),
        document("Template", "chaos", {"messages": messages}),
        document("Proxy", "chaos", use),
        document("Proxy", "chaos-duplex", use | restore),
        document("Proxy", "chaos-native", {"upstreams": [{"name": "chaos"}]}),
        document("Template", f"written-{number}", {"messages": messages}),
    ]


class Writer:
    """Applies generation after generation, at one control plane after the other.

    Attributes:
        stored: the generations that were acknowledged as stored.
        refused: those of which it was said that nothing was written.
        answers: how often each answer came.
    """

    def __init__(self, apis: Sequence[httpx.Client], echo: Echo, pause: float = 0.05) -> None:
        self.stored: set[int] = set()
        self.refused: set[int] = set()
        self.answers: Counter[str] = Counter()
        self.last = 0
        self._apis = apis
        self._echo = echo
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def write(self, number: int, wait: str | None = None) -> httpx.Response:
        body = yaml.safe_dump_all(generation(number, self._echo))
        return self._apis[number % len(self._apis)].post(
            "/api/v1/apply",
            params={"wait": wait} if wait else {},
            content=body,
            headers={"content-type": "application/yaml"},
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(60)

    def _write(self) -> None:
        while not self._stop.wait(self._pause):
            self.last += 1
            try:
                # Every second one does not wait, so that several come together.
                answer = self.write(self.last, "1s" if self.last % 2 else None)
            except httpx.HTTPError as error:
                self.answers[type(error).__name__] += 1  # it may be stored, or not
                continue
            self.note(self.last, answer)

    def note(self, number: int, answer: httpx.Response) -> None:
        code = answer.json().get("error", {}).get("code", "")
        self.answers[f"{answer.status_code} {code}".strip()] += 1
        if answer.status_code < 300 or code == "rejected_by_node":
            self.stored.add(number)
        elif code != "outcome_unknown":
            self.refused.add(number)
