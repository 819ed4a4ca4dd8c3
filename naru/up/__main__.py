"""`python -m naru.up`: the supervisor's process, started by the guard (see `guard.py`)."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from naru.up import probes
from naru.up.console import NAME_WIDTH, Console
from naru.up.control import answering
from naru.up.errors import UpError
from naru.up.guard import release_signals
from naru.up.layout import Layout, lay_out
from naru.up.lines import Redactor
from naru.up.settings import UpSettings, read_settings
from naru.up.supervisor import Supervisor
from naru.up.system import build_system


def main() -> int:
    release_signals()
    options = _options()
    settings = read_settings(
        os.environ,
        data_dir=options.data_dir,
        demo=options.demo,
        open_=options.open,
        tls=options.tls,
    )
    os.set_inheritable(options.lock, False)
    try:
        asyncio.run(_run(settings, options.lifeline))
    except UpError as error:
        _report(str(error))
        return 1
    finally:
        _flush()
    return 0


async def _run(settings: UpSettings, lifeline: int) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    _listen(stop, hurry, lifeline)
    layout = lay_out(settings)
    console = Console(NAME_WIDTH, Redactor(layout.secrets))
    for note in layout.notes:
        console.say(note)
    try:
        async with probes.new_http(layout.tls) as http, _fresh(layout, console):
            system = build_system(settings, layout, console, http)
            supervisor = Supervisor(system, console, stop, hurry)
            commands = {"restart": functools.partial(supervisor.replace, "ext_proc")}
            async with answering(layout.data_dir, commands):
                await supervisor.run()
    finally:
        # The guard does this, too, unless it was killed.
        (layout.data_dir / "endpoints.json").unlink(missing_ok=True)
        layout.clean_up()


@contextlib.asynccontextmanager
async def _fresh(layout: Layout, console: Console) -> AsyncIterator[None]:
    """Certificates are renewed as long as the block lasts, if there are any."""
    renewing = asyncio.ensure_future(
        asyncio.sleep(0) if layout.tls is None else layout.tls.keep_fresh(console.say)
    )
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait({renewing})


def _listen(stop: asyncio.Event, hurry: asyncio.Event, lifeline: int) -> None:
    """The first signal stops gracefully, the second at once, as does the guard's death."""

    def on_signal() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    def on_end_of_lifeline() -> None:
        loop.remove_reader(lifeline)
        stop.set()
        hurry.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    os.set_inheritable(lifeline, False)
    loop.add_reader(lifeline, on_end_of_lifeline)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="naru.up")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--open", action="store_true")
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--lock", type=int, required=True)
    parser.add_argument("--lifeline", type=int, required=True)
    return parser.parse_args()


def _report(message: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"naru up: {message}\n")
        sys.stderr.flush()


def _flush() -> None:
    """A reader of the log that went away must not turn into an error at the interpreter's exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
