"""The control plane's process: etcd is followed, compiled, served by ADS; the REST API beside it.

Everything runs in one event loop. Order of start: what can be wrong with files and ports first,
then the parts. Order of stop: no new calls, those under way end, streams end, etcd is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from control_plane import _memory
from control_plane._expiry import Reminder
from control_plane._local import seen_from_here
from control_plane._loop import CompileLoop
from control_plane._nodes import Nodes
from control_plane._tls import TlsError, TlsFiles, server_credentials
from control_plane._web import Web, web_config
from control_plane.api import (
    AdminToken,
    Metrics,
    State,
    TokenError,
    create_app,
    load_or_create_token,
)
from control_plane.compile import Compiled, Compiler
from control_plane.isolate import EnvoyValidator, Isolation, Warden
from control_plane.redact import redacted
from control_plane.settings import Address, Settings, SettingsError
from control_plane.store import (
    PREFIX,
    KekError,
    KekFile,
    KeksFromText,
    Keyring,
    LastKnownGood,
    Limits,
    Rotation,
    Snapshot,
    Store,
    wrong_key,
)
from control_plane.xds import SERVER_OPTIONS, Gate, Hub

log = logging.getLogger("naru.control_plane")

_OPTIONS: Final = (*SERVER_OPTIONS, ("grpc.so_reuseport", 0))  # a taken port must be an error
_LAST_WORDS: Final = 0.2  # seconds for ADS streams, which never end by themselves


class StartError(Exception):
    """The process cannot start; the message says which setting, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Running:
    """A control plane that serves.

    Attributes:
        api, xds: where; with the real ports, if any free one was asked for.
        failed: done as soon as a part has ended by itself, which none should.
    """

    api: Address
    xds: Address
    failed: asyncio.Future[None]


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; ends the process with code 1 if it cannot start."""
    try:
        asyncio.run(serve(settings))
    except StartError as error:
        log.error("%s", error)
        raise SystemExit(1) from None


def main() -> None:
    """Settings from the environment, the log to stderr."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings.from_environ(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"The settings cannot be used:\n{error}\n")
        raise SystemExit(2) from None
    run(settings)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; raises StartError, or what ended a part by itself."""
    stop = asyncio.Event()
    with _stopping(stop):
        async with running(settings) as parts:
            log.info("API on http://%s, xDS on %s", parts.api, parts.xds)
            await _either(stop, parts.failed)
            log.info("stopping")


async def _either(stop: asyncio.Event, failed: asyncio.Future[None]) -> None:
    """Until `stop` is set; raises what ended a part by itself."""
    stopped = asyncio.ensure_future(stop.wait())
    both: set[asyncio.Future[Any]] = {stopped, failed}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if failed.done():
        failed.result()


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Start every part; at the end, stop them in the order that the module tells."""
    keyring = _keyring(settings)
    state_token = _token(settings)
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    metrics = Metrics()
    hub = Hub(examined=True, replica=secrets.token_hex(4), on_sent=metrics.sent)
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(_listening(settings.api))
        api = Address(*listening.getsockname()[:2])
        server, xds = _ads(
            hub, settings.xds, settings.xds_tls, lambda: compilation.live is not None
        )
        store = await stack.enter_async_context(_open(settings, keyring))
        rotation = Rotation(store, keyring, partial(_named_in_files, settings.data_dir))
        isolation = Isolation(store.codec, store.commit, _validator(settings))
        compilation = CompileLoop(
            lambda: Compiler(settings.gateway), hub, metrics.compiled, isolation
        )
        warden = Warden(hub, isolation, compilation, lambda: store.snapshot)
        nodes = Nodes(hub, store.nodes(), lambda text: _redacted(text, store))
        for name, work in (
            ("the nodes' reports", nodes.run()),
            ("the compile loop", compilation.run(_readable(store, lambda: compilation.live))),
            ("the isolation of what nodes refuse", warden.run()),
            ("the care for memory", _memory.settle(compilation)),
            ("the keys of this replica", rotation.run()),
            ("the reminder of credentials", Reminder().run(lambda: store.snapshot.resources)),
            ("the maintenance of etcd", store.maintenance.run()),
        ):
            stack.push_async_callback(_ended, _watched(work, failed, name))
        await server.start()
        stack.push_async_callback(server.stop, _LAST_WORDS)
        app = create_app(
            State(
                store,
                store.reflector,
                compilation,
                hub,
                state_token,
                metrics,
                settings.limits,
                seen_from_here(settings.addresses, (api, xds)),
                keys=rotation,
                upkeep=store.maintenance,
            )
        )
        web = Web(web_config(app, settings.drain))
        serving = _watched(web.serve(sockets=[listening]), failed, "the API")
        stack.push_async_callback(web.stop, serving)
        stack.callback(failed.cancel)
        yield Running(api, xds, failed)


@contextlib.contextmanager
def _stopping(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for each in signals:
        loop.add_signal_handler(each, stop.set)
    try:
        yield
    finally:
        for each in signals:
            loop.remove_signal_handler(each)


def _keyring(settings: Settings) -> Keyring:
    try:
        return Keyring(KeksFromText(settings.kek) if settings.kek else KekFile(settings.kek_file))
    except KekError as error:
        raise StartError(str(error)) from error


async def _readable(store: Store, live: Callable[[], Compiled | None]) -> AsyncIterator[Snapshot]:
    """The snapshots; but none to begin with that lacks every secret, because the key is wrong.

    Served, it would take from the nodes what they have.
    """
    said = None
    async for snapshot in store.reflector.subscribe():
        why = wrong_key(snapshot, store.reflector.problems) if live() is None else None
        if why is None:
            yield snapshot
        elif why != said:
            log.error("nothing is served: %s", why)
        said = why


def _named_in_files(directory: Path, ids: Collection[str]) -> list[str]:
    """The keys that the snapshots in a directory are sealed with: each begins by naming its own.

    Raises:
        OSError: they cannot be read, which says nothing of their keys.
    """
    paths: list[Path] = []
    with contextlib.suppress(FileNotFoundError):  # nothing has been kept yet
        paths = [path for path in directory.iterdir() if path.suffix == ".lkg"]
    heads = [_head(path) for path in paths]
    return [kek for kek in ids if any(kek.encode() in head for head in heads)]


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except FileNotFoundError:  # deleted since it was listed
        return b""


def _token(settings: Settings) -> AdminToken:
    try:
        return load_or_create_token(settings.admin_token_file)
    except TokenError as error:
        raise StartError(f"NARU_ADMIN_TOKEN_FILE: {error}") from error


def _validator(settings: Settings) -> EnvoyValidator | None:
    binary = settings.envoy
    return None if binary is None else EnvoyValidator(binary, settings.gateway)


def _redacted(text: str, store: Store) -> str:
    return redacted(text, store.snapshot.resources.values())


def _open(settings: Settings, keyring: Keyring) -> Store:
    etcd = settings.etcd
    limits = Limits(max_operations=etcd.max_operations, max_bytes=etcd.max_bytes)
    kept = LastKnownGood(settings.data_dir / "control_plane.lkg", PREFIX, keyring.derive)
    return Store(
        etcd.endpoints,
        keyring,
        PREFIX,
        limits=limits,
        policy=etcd.policy,
        last_known_good=kept,
        patience=etcd.patience,
        access=etcd.access,
    )


@contextlib.contextmanager
def _listening(address: Address) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server(tuple(address), family=family, backlog=512)
    except OSError as error:
        raise StartError(
            f"NARU_API_ADDRESS: cannot listen on {address} ({error.strerror}): end what uses it, "
            "or set another address"
        ) from error
    with listening:
        # Inherited by every connection; asyncio sets it only on sockets that it made itself.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listening


def _ads(
    hub: Hub, address: Address, tls: TlsFiles | None, is_open: Callable[[], bool]
) -> tuple[grpc.aio.Server, Address]:
    server = grpc.aio.server(options=_OPTIONS, interceptors=(Gate(is_open),))
    hub.register(server)
    try:
        if tls is None:
            port = server.add_insecure_port(str(address))
        else:
            port = server.add_secure_port(str(address), server_credentials(tls))
    except TlsError as error:
        raise StartError(f"NARU_XDS_TLS_*: {error}") from error
    except RuntimeError as error:
        raise StartError(
            f"NARU_XDS_ADDRESS: cannot listen on {address}: end what uses it, or set another "
            "address"
        ) from error
    return server, Address(address.host, port)


def _watched(
    work: Coroutine[None, None, None], failed: asyncio.Future[None], name: str
) -> asyncio.Task[None]:
    """Run `work`, which should go on until it is stopped; its end ends the process."""
    task = asyncio.create_task(work, name=name)

    def ended(task: asyncio.Task[None]) -> None:
        if failed.done() or task.cancelled():
            return
        error = task.exception() or RuntimeError(f"{name} has ended by itself")
        failed.set_exception(error)

    task.add_done_callback(ended)
    return task


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


if __name__ == "__main__":
    main()
