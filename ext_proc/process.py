"""What a process of the data plane owes to whoever started it: it says when it serves, and it ends
when it is told. The worker's and the failover's."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable


def say_ready(descriptor: int | None) -> Callable[[], None]:
    """What to call once requests are served: it writes a newline to the descriptor, if any."""

    def ready() -> None:
        if descriptor is not None:
            with os.fdopen(descriptor, "wb") as reader:
                reader.write(b"\n")

    return ready


def stop_on_signals(stop: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT set `stop`."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
