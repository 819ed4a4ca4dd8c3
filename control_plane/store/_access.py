"""How this process proves itself to etcd: TLS files, and a user with a password.

A token is fetched with the password when one is needed, sent with each call, and fetched anew when
etcd does not know it any more (it restarted, or the token was idle for too long).

Specification: https://etcd.io/docs/v3.5/op-guide/authentication/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
from etcd3aio._protobuf import AuthenticateRequest, AuthStub

from control_plane.store._wire import Refused
from control_plane.store.errors import StoreUnavailable

_PATIENCE: Final = 3.0
_STALE: Final = ("invalid auth token", "revision of auth store is old", "user name is empty")
_TLS_HINTS: Final = (
    ("certificate has expired", "its certificate has expired"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not signed by the CA in NARU_ETCD_CA"),
    ("Hostname Verification", "its certificate is not for the name in NARU_ETCD_ENDPOINTS"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS"),
    ("_ALERT_", "it does not take the certificate in NARU_ETCD_CERT, or wants one"),
    ("Socket closed", "it hangs up: does it take the certificate in NARU_ETCD_CERT?"),
)
_PLAIN_HINTS: Final = (
    ("Socket closed", "is it running? If it speaks TLS, write https:// in NARU_ETCD_ENDPOINTS"),
)


@dataclass(frozen=True, slots=True)
class EtcdAccess:
    """What is shown to etcd, and what is asked of it.

    Attributes:
        tls: whether to speak TLS at all.
        ca: of etcd's certificate; None: those that gRPC knows.
        cert, key: of this process, if etcd wants them.
        user: of etcd's authentication; its password is in `password_file`.
    """

    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str | None = None
    password_file: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Raises `Refused` if a file cannot be read."""
        if not self.tls:
            return None
        cert, key = _content(self.cert, "NARU_ETCD_CERT"), _content(self.key, "NARU_ETCD_KEY")
        ca = _content(self.ca, "NARU_ETCD_CA")
        return grpc.ssl_channel_credentials(ca, key if cert else None, cert if key else None)

    def age(self) -> tuple[int, ...]:
        """Changes with the files."""
        return tuple(_modified(path) for path in (self.ca, self.cert, self.key))

    def password(self) -> str:
        """Raises `Refused` if there is none."""
        content = _content(self.password_file, "NARU_ETCD_PASSWORD_FILE")
        return (content or b"").decode("utf-8", "replace").rstrip("\r\n")


def explained(details: str, *, tls: bool) -> str | None:
    """What gRPC's words on a connection that fails mean; None if they speak of no handshake."""
    hints = _TLS_HINTS if tls else _PLAIN_HINTS
    return next((said for word, said in hints if word in details), None)


class SignedChannel:
    """A channel whose calls carry the user's token. What of a channel this package needs."""

    def __init__(self, channel: grpc.aio.Channel, access: EtcdAccess, endpoint: str) -> None:
        self.bare = self._channel = channel
        self._access = access
        self._endpoint = endpoint
        self._token: str | None = None
        self._turn = asyncio.Lock()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last)

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    async def signed(self) -> None:
        """See to a token, for a stream, which cannot wait for one."""
        if self._token is None:
            await self._renew(None)

    def forget(self) -> None:
        """The token may be none any more."""
        self._token = None

    def unary_unary(self, *args: Any, **options: Any) -> Callable[..., Any]:
        call = self._channel.unary_unary(*args, **options)

        async def signed(request: Any, timeout: float | None = None) -> Any:
            await self.signed()
            used = self._token
            try:
                return await call(request, timeout=timeout, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                if not any(words in (error.details() or "") for words in _STALE):
                    raise
            await self._renew(used)  # etcd did not do it, so it can be asked again
            return await call(request, timeout=timeout, metadata=self._metadata)

        return signed

    def stream_stream(self, *args: Any, **options: Any) -> Callable[..., Any]:
        call = self._channel.stream_stream(*args, **options)

        def signed(timeout: float | None = None, metadata: Any = ()) -> Any:
            return call(timeout=timeout, metadata=(*metadata, *self._metadata))

        return signed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)  # the stubs ask for all kinds of calls beforehand

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("token", self._token),) if self._token else ()

    async def _renew(self, used: str | None) -> None:
        """A token other than the one that was used; raises `Refused` or `StoreUnavailable`."""
        async with self._turn:
            if self._token != used:
                return
            request = AuthenticateRequest(name=self._access.user, password=self._access.password())
            try:
                answer = await AuthStub(self._channel).Authenticate(request, timeout=_PATIENCE)
            except grpc.aio.AioRpcError as error:
                raise self._refusal(error) from error
            self._token = answer.token

    def _refusal(self, error: grpc.aio.AioRpcError) -> StoreUnavailable:
        details, where = error.details() or "", f"etcd at {self._endpoint}"
        if "authentication failed" in details:
            return Refused(
                f"{where} does not know the user of NARU_ETCD_USER with the password in "
                "NARU_ETCD_PASSWORD_FILE: correct either"
            )
        if "not enabled" in details:
            return Refused(
                f"{where} has no authentication, but NARU_ETCD_USER is set: enable it there, or "
                "leave the variable out"
            )
        return StoreUnavailable(f"{where} does not authenticate this process: {details}")


def _content(path: Path | None, setting: str) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise Refused(f"{setting}: cannot read {path}: {error.strerror}") from error


def _modified(path: Path | None) -> int:
    try:
        return 0 if path is None else path.stat().st_mtime_ns
    except OSError:
        return 0
