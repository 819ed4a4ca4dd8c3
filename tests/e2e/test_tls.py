"""`naru up --tls`: certificates for xDS beyond loopback and for etcd, renewed while it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography import x509
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub

from naru.up import binaries
from naru.up.tls import TlsDir
from tests.e2e.conftest import tour
from tests.support.etcd import EtcdProcess, etcd_binary
from tests.support.gateway import Gateway, free_port, running_gateway, start_up, stop, wait_for
from tests.support.provider import Provider
from tests.support.roles import Places, assembled

LARGE = ("--max-txn-ops=10240", "--max-request-bytes=33554432")
GOOD = {"dish": "x", "mood": "warm"}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Gateway]:
    """The product with TLS, whose xDS every network can reach."""
    data_dir: Path = tmp_path_factory.mktemp("secured") / "data"
    xds = f"0.0.0.0:{free_port()}"
    with running_gateway(data_dir, "--tls", NARU_XDS_ADDRESS=xds, NARU_WORKERS="1") as running:
        running.apply(*tour(provider))
        yield running


def test_it_serves(secured: Gateway) -> None:
    answer = secured.run("menu-copy", GOOD)
    assert answer.status_code == 200, answer.text


def test_xds_wants_a_certificate(secured: Gateway) -> None:
    address = secured.endpoints["xds"].removeprefix("http://")
    ca = (secured.data_dir / "tls" / "ca.crt").read_bytes()
    bare = grpc.insecure_channel(address)
    nobody = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca))
    for channel in (bare, nobody):
        stub: Any = AggregatedDiscoveryServiceStub(channel)
        with channel, pytest.raises(grpc.RpcError) as caught:
            next(stub.DeltaAggregatedResources(iter(())))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_etcd_takes_the_control_plane_alone(secured: Gateway) -> None:
    tls = secured.data_dir / "tls"
    assert "/naru/v1/guard" in keys_in_etcd(
        secured, f"--cert={tls}/control-plane.crt", f"--key={tls}/control-plane.key"
    )
    for cert in ([], [f"--cert={tls}/envoy.crt", f"--key={tls}/envoy.key"]):
        with pytest.raises(subprocess.CalledProcessError):
            keys_in_etcd(secured, *cert)


def test_renewed_certificates_are_used_without_a_restart(secured: Gateway) -> None:
    tls = TlsDir(secured.data_dir / "tls", ("localhost", "127.0.0.1"))
    envoy = secured.endpoints["pids"]["envoy"]
    tls.prepare()
    (serial,) = {x509.load_pem_x509_certificate(tls.of("envoy").cert.read_bytes()).serial_number}
    admin = secured.endpoints["envoy_admin"]
    wait_for(
        lambda: f"{serial:x}" in httpx.get(f"{admin}/certs").text, why="Envoy shows the new one"
    )
    os.kill(secured.endpoints["pids"]["control_plane"][0], signal.SIGKILL)
    wait_for(lambda: joined(secured) == {"gateway", "ext-proc-0"}, 30, "everybody is back")
    etcd = secured.endpoints["pids"]["etcd"]
    secured.apply({
        "apiVersion": "naru/v1", "kind": "Template", "metadata": {"name": "renewed"},
        "spec": {"messages": [{"role": "user", "content": "hello"}]},
    })  # fmt: skip
    assert secured.run("menu-copy", GOOD).status_code == 200
    assert (secured.endpoints["pids"]["envoy"], secured.endpoints["pids"]["etcd"]) == (envoy, etcd)


def test_without_tls_xds_stays_on_loopback(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start_up(tmp_path / "data", log, NARU_XDS_ADDRESS=f"0.0.0.0:{free_port()}")
    try:
        assert process.wait(20) == 1
    finally:
        stop(process)
    assert "without --tls it must listen on loopback" in log.read_text()


@pytest.mark.parametrize("name", ["control-plane.example", "127.0.0.1"])
def test_envoy_takes_the_bootstrap(secured: Gateway, tmp_path: Path, name: str) -> None:
    """As `naru bootstrap` prints it, with the files of this gateway."""
    tls = TlsDir(secured.data_dir / "tls", ()).of("envoy")
    printed = subprocess.run(
        [
            *(sys.executable, "-m", "naru", "bootstrap", "--xds-name", name),
            *("--xds-ca", tls.ca, "--xds-cert", tls.cert, "--xds-key", tls.key),
            *("--ext-proc-sockets", "/run/worker.sock"),
        ],
        capture_output=True, check=True, timeout=30,
    ).stdout  # fmt: skip
    config = tmp_path / "bootstrap.yaml"
    config.write_bytes(printed)
    command = [binaries.find("envoy"), "--mode", "validate", "-c", config]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def keys_in_etcd(gateway: Gateway, *options: str) -> str:
    ca = gateway.data_dir / "tls" / "ca.crt"
    command = [etcd_binary("etcdctl"), f"--endpoints=https://{gateway.endpoints['etcd']}"]
    command += [
        f"--cacert={ca}",
        *options,
        "--command-timeout=2s",
        "get",
        "--prefix",
        "/naru",
        "--keys-only",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def joined(gateway: Gateway) -> set[str]:
    try:
        nodes = gateway.api.get("/api/v1/status").json()["nodes"]
    except (httpx.HTTPError, ValueError, KeyError):
        return set()
    return {node["id"] for node in nodes if node["connected"]}


@dataclass(frozen=True)
class SecuredPlaces(Places):
    """Every role has the files in its environment, as containers would."""

    def environment(self) -> dict[str, str]:
        tls = TlsDir(self.root / "tls", ("127.0.0.1",)).of("control-plane")
        names = {"CERT": tls.cert, "KEY": tls.key, "CLIENT_CA": tls.ca, "CA": tls.ca}
        files = {f"NARU_XDS_TLS_{name}": str(path) for name, path in names.items()}
        return super().environment() | files


def test_each_role_takes_its_files_from_the_environment(tmp_path: Path, provider: Provider) -> None:
    """`naru control-plane`, `naru ext-proc` and `naru envoy`, which writes what Envoy watches."""
    TlsDir(tmp_path / "tls", ("127.0.0.1",)).prepare()
    with EtcdProcess(tmp_path / "etcd", LARGE) as etcd:
        places = SecuredPlaces.pick(tmp_path, etcd.endpoint)
        with assembled(places) as gateway:
            gateway.apply(*tour(provider))
            assert gateway.run("menu-copy", GOOD).status_code == 200
    assert {"xds_ca.json", "xds_client.json"} <= {
        each.name for each in (tmp_path / "data").iterdir()
    }
