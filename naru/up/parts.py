"""The command line, environment and readiness of each part of the system. One function for each."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from naru._xds_tls import XdsTls, sds_files
from naru.bootstrap import BootstrapSettings, bootstrap
from naru.up import binaries, probes, python
from naru.up.child import ChildSpec
from naru.up.drain import drain_envoy
from naru.up.files import write_atomically
from naru.up.layout import Layout
from naru.up.lines import tidy_zap
from naru.up.machine import own_addresses, system_ca
from naru.up.settings import UpSettings
from naru.up.sockets import listen
from naru.up.tls import SUFFIX, TlsDir

_MIB = 1024 * 1024
_LONGEST_ANSWER = 300.0
"""Seconds that an answer may stream through a worker: one that was replaced may finish it."""
_LONGEST_THOUGHT = 30.0
"""Seconds within which the control plane answers whatever it does, thousands of proxies read and
compiled among it. It is killed after two questions in a row that it did not answer."""
_TAKE_SOCKETS = ("native",)
"""Transports that can serve a socket which is open already."""
_ETCD_OPTIONS = (
    "--max-txn-ops=10240",
    f"--max-request-bytes={32 * _MIB}",
    f"--quota-backend-bytes={2048 * _MIB}",
    "--auto-compaction-mode=periodic",
    "--auto-compaction-retention=24h",
    "--log-level=warn",
    "--log-outputs=stderr",
)


def etcd(layout: Layout, http: httpx.AsyncClient) -> ChildSpec:
    client, peer = layout.at["etcd"].url, layout.at["etcd_peer"].url
    if layout.tls is not None:
        client = client.replace("http:", "https:", 1)
    argv = (
        str(binaries.find("etcd")),
        "--name=naru",
        f"--data-dir={layout.data_dir / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=naru={peer}",
        *_ETCD_OPTIONS,
        *_etcd_tls(layout.tls),
    )
    return ChildSpec(
        name="etcd",
        group="etcd",
        argv=argv,
        env=python.plain_environment(),
        ready=probes.etcd_healthy(http, client),
        tidy=tidy_zap,
    )


def _etcd_tls(tls: TlsDir | None) -> tuple[str, ...]:
    """Options with which etcd takes the control plane alone for a client."""
    if tls is None:
        return ()
    files = tls.of("etcd")
    return (
        f"--cert-file={files.cert}",
        f"--key-file={files.key}",
        f"--trusted-ca-file={files.ca}",
        "--client-cert-auth",
        f"--client-cert-allowed-hostname=control-plane.{SUFFIX}",
        "--enable-grpc-gateway=false",  # it would be a client that shows etcd's own certificate
    )


def _control_plane_tls(tls: TlsDir | None) -> dict[str, str]:
    if tls is None:
        return {}
    files = tls.of("control-plane")
    cert, key, ca = str(files.cert), str(files.key), str(files.ca)
    xds = {"NARU_XDS_TLS_CERT": cert, "NARU_XDS_TLS_KEY": key, "NARU_XDS_TLS_CLIENT_CA": ca}
    return xds | {"NARU_ETCD_CERT": cert, "NARU_ETCD_KEY": key, "NARU_ETCD_CA": ca}


def control_plane(layout: Layout, settings: UpSettings, http: httpx.AsyncClient) -> ChildSpec:
    return ChildSpec(
        name="control_plane",
        group="control_plane",
        argv=python.command("naru", "control-plane"),
        env=python.environment() | role_environment(layout, settings),
        ready=probes.http_ok(http, f"{layout.at['api'].url}/readyz"),
        ready_timeout=60.0,
        alive=probes.http_answers(http, f"{layout.at['api'].url}/healthz", _LONGEST_THOUGHT),
        alive_every=2.0,
    )


def role_environment(layout: Layout, settings: UpSettings) -> dict[str, str]:
    """The `NARU_*` variables that tell the control plane where everything is."""
    kek = {"NARU_KEK": settings.kek} if settings.kek else {"NARU_KEK_FILE": str(layout.kek_file)}
    tls = _control_plane_tls(layout.tls)
    own = (*map(str, own_addresses(layout.at)), settings.own)
    trusted = settings.system_ca or system_ca()
    return (
        kek
        | tls
        | ({"NARU_SYSTEM_CA": trusted} if trusted else {})
        | {
            "NARU_DATA_DIR": str(layout.data_dir),
            "NARU_GATEWAY_ADDRESS": str(layout.at["gateway"]),
            "NARU_API_ADDRESS": str(layout.at["api"]),
            "NARU_XDS_ADDRESS": str(layout.at["xds"]),
            "NARU_ENVOY_ADMIN_ADDRESS": str(layout.at["envoy_admin"]),
            "NARU_ETCD_ENDPOINTS": ("https://" if tls else "") + str(layout.at["etcd"]),
            "NARU_OWN_ADDRESSES": ",".join(own),
            "NARU_ADMIN_TOKEN_FILE": str(layout.admin_token_file),
            "NARU_EXT_PROC_SOCKETS": ",".join(map(str, layout.sockets)),
            "NARU_ENVOY_BINARY": str(binaries.find("envoy")),
        }
    )


def ext_proc(layout: Layout, settings: UpSettings, index: int) -> ChildSpec:
    """A worker. Its socket is the supervisor's own, who keeps it open for as long as it lives: what
    connects while the worker is restarted waits in the backlog, and is not refused.

    Raises:
        UpError: the socket cannot be made.
    """
    path = layout.sockets[index]
    inherited = settings.transport in _TAKE_SOCKETS
    listener = (listen(path).detach(),) if inherited else ()
    worker = {
        "socket": str(path),
        "xds_address": str(layout.at["xds"].local),
        "node_id": layout.worker_ids[index],
        "transport": settings.transport,
        "listener": next(iter(listener), None),
        # Without a second worker beside it, whoever waits for its end waits for the next one, too.
        "grace": _LONGEST_ANSWER if inherited else 10.0,
        "state_dir": str(layout.data_dir / "ext_proc"),
        "state_key_file": str(layout.state_key_file),
        "tls": _worker_tls(layout.tls),
    }
    return ChildSpec(
        name=f"ext_proc.{index}",
        group="ext_proc",
        argv=python.command("ext_proc", json.dumps(worker)),
        env=python.environment() | {"NARU_DATA_DIR": str(layout.data_dir)},
        pass_fds=listener,
        beside=inherited,
        # A killed worker that has bound the path itself leaves it behind.
        before_start=(lambda: None) if inherited else lambda: path.unlink(missing_ok=True),
        # What waits in the backlog waits for two seconds, the start included.
        most_delay=0.5,
        stop_grace=15.0,  # Envoy has ended before, and with it the streams
        leave_grace=_LONGEST_ANSWER + 10.0,
        ready=probes.unix_accepts(path),
        ready_option="--ready-fd",
        alive=probes.http2_answers(path),
    )


def _worker_tls(tls: TlsDir | None) -> dict[str, str] | None:
    if tls is None:
        return None
    files = tls.of("ext-proc")
    return {"cert": str(files.cert), "key": str(files.key), "ca": str(files.ca)}


def _envoy_tls(layout: Layout, directory: Path) -> XdsTls | None:
    """Beside the bootstrap are the files in which Envoy looks for new certificates."""
    if layout.tls is None:
        return None
    files = layout.tls.of("envoy")
    tls = XdsTls(
        cert=str(files.cert),
        key=str(files.key),
        ca=str(files.ca),
        name=layout.at["xds"].local.host,
        sds_dir=str(directory),
    )
    for name, content in sds_files(tls).items():
        write_atomically(directory / name, json.dumps(content, indent=2).encode())
    return tls


def failover(layout: Layout) -> ChildSpec:
    """What Envoy starts from while the control plane is away."""
    process = {
        "socket": str(layout.failover_socket),
        "xds_address": str(layout.at["xds"].local),
        "state_file": str(layout.data_dir / "envoy" / "envoy.lkg"),
        "key_file": str(layout.failover_key_file),
        "tls": _worker_tls(layout.tls),
    }
    return ChildSpec(
        name="failover",
        group="failover",
        argv=python.command("control_plane.failover", json.dumps(process)),
        env=python.environment() | {"NARU_DATA_DIR": str(layout.data_dir)},
        ready=probes.unix_accepts(layout.failover_socket),
        ready_option="--ready-fd",
    )


def envoy(layout: Layout, settings: UpSettings, http: httpx.AsyncClient) -> ChildSpec:
    xds, admin = layout.at["xds"].local, layout.at["envoy_admin"]
    path = layout.data_dir / "envoy" / "bootstrap.json"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    document = bootstrap(
        BootstrapSettings(
            xds_host=xds.host,
            xds_port=xds.port,
            ext_proc_sockets=tuple(map(str, layout.sockets)),
            ext_proc_ids=tuple(layout.worker_ids),
            admin_host=admin.host,
            admin_port=admin.port,
            node_id=settings.node_id,
            max_heap_mib=settings.envoy_max_heap_mib,
            xds_tls=_envoy_tls(layout, path.parent),
            failover_socket=str(layout.failover_socket),
        )
    )
    write_atomically(path, json.dumps(document, indent=2).encode())
    return ChildSpec(
        name="envoy",
        group="envoy",
        argv=envoy_command(path, settings.envoy_threads),
        env=python.plain_environment(),
        ready=probes.http_ok(http, f"{admin.url}/ready"),
        ready_timeout=60.0,
        drain=lambda: drain_envoy(http, admin.url, settings.drain),
    )


def envoy_command(bootstrap_path: Path, concurrency: int) -> tuple[str, ...]:
    """Envoy with `concurrency` worker threads.

    Without hot restart, whose shared memory would let one Envoy of a machine disturb another.
    """
    options = {
        "--config-path": bootstrap_path,
        "--concurrency": concurrency,
        "--drain-time-s": 5,
        "--drain-strategy": "immediate",
        "--log-level": "warning",
        "--log-format": "%l %n: %v",
    }
    arguments = [str(text) for option in options.items() for text in option]
    return (str(binaries.find("envoy")), *arguments, "--disable-hot-restart")
