"""Callers that never stop, and look at every answer."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

MARK: Final = re.compile(r"g(\d+)\b")
_WAYS: Final[tuple[tuple[str, dict[str, object], int], ...]] = (
    ("/p/chaos", {"variables": {}}, 4),
    ("/v1/chat/completions", {"model": "chaos", "messages": []}, 4),
    ("/p/chaos-duplex", {"variables": {}}, 4),
    ("/p/chaos-native/v1/chat/completions", {"model": "m", "messages": []}, 1),
)
"""Path, body, and how many marks of a generation are in the answer."""


class Callers:
    """Two threads for each gateway and way in.

    Attributes:
        answered: how many calls were a 200.
        mixed: answers that hold marks of more than one generation, or too few.
        failures: what was not a 200, by its words.
    """

    def __init__(self, gateways: Sequence[str], pause: float = 0.005) -> None:
        self.answered = 0
        self.mixed: list[str] = []
        self.failures: Counter[str] = Counter()
        self._pause = pause
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(url, *way))
            for url in gateways
            for way in _WAYS
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)

    def _call(self, url: str, path: str, body: dict[str, object], marks: int) -> None:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        content, headers = json.dumps(body), {"content-type": "application/json"}
        while not self._stop.wait(self._pause):
            try:
                connection.request("POST", path, content, headers)
                response = connection.getresponse()
                self._look_at(response.status, response.read().decode(), marks)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                self._failed(type(error).__name__)
        connection.close()

    def _look_at(self, status: int, text: str, marks: int) -> None:
        if status != 200:
            self._failed(f"{status} {_code(text)}")
            return
        found = MARK.findall(text)
        with self._lock:
            self.answered += 1
            if len(found) != marks or len(set(found)) != 1:
                self.mixed.append(text)

    def _failed(self, words: str) -> None:
        with self._lock:
            self.failures[words] += 1


def _code(text: str) -> str:
    try:
        return str(json.loads(text)["error"]["code"])
    except (ValueError, LookupError, TypeError):
        return text[:80]
