"""Callers that hardly pause, each on a keep-alive connection of its own, and what they saw."""

from __future__ import annotations

import http.client
import json
import threading
import time
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

from tests.support.gateway import wait_for

WAIT = 30.0


class Reached(Protocol):
    """A running product; `gateway` is the URL of its front."""

    @property
    def endpoints(self) -> dict[str, Any]: ...


class Load:
    """`callers` threads that ask the proxy `menu-copy` (see `tests.e2e.conftest.tour`).

    Without a `pause` between two calls, in seconds, they take the processor from what is tested.

    Attributes:
        failures: what was not a 200, in words.
        answered: how many calls were a 200.
        slowest: seconds that the slowest call took.
    """

    def __init__(
        self, gateway: Reached, callers: int = 8, proxy: str = "menu-copy", pause: float = 0.01
    ) -> None:
        self.failures: list[str] = []
        self.answered = 0
        self.slowest = 0.0
        self._proxy = proxy
        self._pause = pause
        self._at = urlsplit(gateway.endpoints["gateway"]).netloc
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._call, args=(number,)) for number in range(callers)
        ]

    def go_on(self, calls: int) -> None:
        """Wait until so many more calls have been answered."""
        enough = self.answered + calls
        wait_for(lambda: self.answered >= enough, WAIT, f"{calls} more answers")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.go_on(len(self._threads))
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(WAIT)

    def _call(self, number: int) -> None:
        connection = http.client.HTTPConnection(self._at, timeout=WAIT)
        turn = 0
        while not self._stop.wait(self._pause):
            turn += 1
            body = {"variables": {"dish": f"{number}.{turn}", "mood": "warm"}}
            began = time.monotonic()
            try:
                problem = self._ask(connection, json.dumps(body))
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
                connection.close()
            self._note(problem, time.monotonic() - began)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, body: str) -> str:
        headers = {"content-type": "application/json"}
        connection.request("POST", f"/p/{self._proxy}", body, headers)
        response = connection.getresponse()
        text = response.read()
        return "" if response.status == 200 else f"{response.status} {text.decode()}"

    def _note(self, problem: str, took: float) -> None:
        with self._lock:
            self.slowest = max(self.slowest, took)
            if problem:
                self.failures.append(problem)
            else:
                self.answered += 1
