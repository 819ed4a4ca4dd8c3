"""The xDS port with certificates: who is let in, what the others are told, and renewal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from control_plane import _tls as server_tls
from control_plane.xds import Hub
from ext_proc import ads_grpc
from ext_proc import tls as _tls
from ext_proc.ads import PLAN, DeltaClient
from tests.support.machine_tls import Authority
from tests.support.stores import until

pytestmark = pytest.mark.anyio
HANDLERS = {PLAN: lambda updates, removed: None}
CLUSTERS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("ours") / "a")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("others") / "a")


def shown(authority: Authority) -> server_tls.TlsFiles:
    files = authority.of("control-plane")
    return server_tls.TlsFiles(files.cert, files.key, files.ca)


def client(authority: Authority, ca: Path, name: str | None = None) -> _tls.TlsFiles:
    files = authority.of("ext-proc")
    return _tls.TlsFiles(files.cert, files.key, ca, name)


@asynccontextmanager
async def serving(files: server_tls.TlsFiles) -> AsyncIterator[tuple[Hub, str]]:
    """A hub on a port that wants certificates."""
    hub, server = Hub(), grpc.aio.server()
    hub.register(server)
    port = server.add_secure_port("127.0.0.1:0", server_tls.server_credentials(files))
    await server.start()
    try:
        yield hub, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def refused(address: str, credentials: grpc.ChannelCredentials | None) -> str:
    """What a client is told that gets nowhere."""
    secure = credentials is not None
    channel = (
        grpc.aio.secure_channel(address, credentials)
        if secure
        else grpc.aio.insecure_channel(address)
    )
    async with channel:
        call: Any = AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(call.read(), 5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return caught.value.details() or ""


async def joined(hub: Hub, address: str, tls: _tls.TlsFiles, node: str) -> bool:
    """Whether a node with these files comes in."""
    async with _tls.channel(address, (), tls) as channel:
        call: Any = AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
        request = DeltaDiscoveryRequest(type_url=CLUSTERS)
        request.node.id = node
        await call.write(request)
        await until(lambda: node in {found.id for found in hub.ledger.nodes()})
        call.cancel()
    return True


async def test_a_client_of_the_authority_is_let_in(ours: Authority) -> None:
    async with serving(shown(ours)) as (hub, address):
        assert await joined(hub, address, client(ours, ours.ca), "a")


async def test_everybody_else_is_refused(
    ours: Authority, others: Authority, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving(shown(ours)) as (hub, address):
        stranger = client(others, ours.ca).credentials()
        nobody = grpc.ssl_channel_credentials(ours.ca.read_bytes())
        for credentials in (stranger, nobody, None):
            await refused(address, credentials)
        assert hub.ledger.nodes() == ()
    said = capfd.readouterr().err
    for reason in (
        "unable to get local issuer certificate",
        "PEER_DID_NOT_RETURN_A_CERTIFICATE",
        "WRONG_VERSION_NUMBER",
    ):
        assert reason in said, "the control plane's log says why"


async def test_an_expired_client_is_refused(
    ours: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Authority.make(tmp_path / "own")
    async with serving(shown(own)) as (hub, address):
        tls = client(own, own.ca)
        assert await joined(hub, address, tls, "a")
        kept = own.of("control-plane")
        cert, key = kept.cert.read_bytes(), kept.key.read_bytes()
        own.expire(monkeypatch)
        kept.key.write_bytes(key)
        kept.cert.write_bytes(cert)
        await refused(address, tls.credentials())


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("ca", "its certificate is not signed by the CA given here"),
        ("name", "its certificate is for another name"),
        ("certificate", "does it know the CA of the certificate here?"),
        ("missing", "a file for TLS cannot be read"),
    ],
)
async def test_a_worker_says_what_is_wrong(
    ours: Authority, others: Authority, mistake: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    tls = {
        "ca": client(ours, others.ca),
        "name": client(ours, ours.ca, "elsewhere.example"),
        "certificate": client(others, ours.ca),
        "missing": client(ours, ours.ca.with_name("none")),
    }[mistake]
    async with serving(shown(ours)) as (_, address):
        running = asyncio.ensure_future(ads_grpc.run(address, DeltaClient("w", HANDLERS), tls=tls))
        try:
            await until(lambda: words in caplog.text)
        finally:
            running.cancel()
            await asyncio.wait({running})


async def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    own = Authority.make(tmp_path / "own")
    async with serving(shown(own)) as (hub, address):
        tls = client(own, own.ca)
        assert await joined(hub, address, tls, "before")
        before = await asyncio.to_thread(serial_at, address, tls)
        own.directory.prepare()
        assert await joined(hub, address, tls, "after")
        assert await asyncio.to_thread(serial_at, address, tls) != before


async def test_a_broken_renewal_leaves_what_was_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = Authority.make(tmp_path / "own")
    async with serving(shown(own)) as (hub, address):
        own.of("control-plane").cert.write_text("half a file")
        assert await joined(hub, address, client(own, own.ca), "a")
        assert "stay as they were" in caplog.text


def serial_at(address: str, tls: _tls.TlsFiles) -> str:
    """The serial number of the certificate that is shown there."""
    import socket
    import ssl

    context = ssl.create_default_context(cafile=tls.ca)
    context.load_cert_chain(tls.cert, tls.key)
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), 5) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        found = secure.getpeercert()
    assert found is not None
    return str(found["serialNumber"])
