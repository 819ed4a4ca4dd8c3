"""Asks a real Envoy, offline, whether it would take some units: `envoy --mode validate`.

It gets a bootstrap with their clusters, and the listener with only their routes. Secrets are not in
it: they stay names. https://www.envoyproxy.io/docs/envoy/latest/operations/cli#cmdoption-mode
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm,
)
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from control_plane.compile import CLUSTER, GatewaySettings, Unit
from control_plane.compile.filters import EXT_PROC_CLUSTER
from control_plane.compile.listener import compile_listener
from control_plane.compile.routes import compile_routes

TIMEOUT: Final = 60.0
_XDS: Final = "xds"
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class ValidatorError(Exception):
    """Envoy could not be asked."""


@dataclass(frozen=True, slots=True)
class EnvoyValidator:
    """`binary` is Envoy's; the same version as the fleet's, or its opinion is worth less."""

    binary: Path
    settings: GatewaySettings

    async def accepts(self, units: Iterable[Unit]) -> bool:
        """Whether Envoy takes all of the units together.

        Raises:
            ValidatorError: it cannot be started, or does not answer.
        """
        content = _bootstrap(tuple(units), self.settings).SerializeToString()
        try:
            with _file(content) as path:
                return await self._validates(path)
        except OSError as error:
            raise ValidatorError(f"cannot write what to ask: {error.strerror}") from error

    async def _validates(self, path: Path) -> bool:
        command = (str(self.binary), "--mode", "validate", "-c", str(path), "--disable-hot-restart")
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                "--log-level",
                "off",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise ValidatorError(f"cannot start {self.binary}: {error.strerror}") from error
        try:
            async with asyncio.timeout(TIMEOUT):
                return await process.wait() == 0
        except TimeoutError as error:
            raise ValidatorError(f"{self.binary} has not answered for {TIMEOUT:.0f} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="naru-validate-") as directory:
        path = Path(directory) / "bootstrap.pb"
        path.write_bytes(content)
        yield path


def _bootstrap(units: tuple[Unit, ...], settings: GatewaySettings) -> Bootstrap:
    bootstrap = Bootstrap()
    bootstrap.node.id = bootstrap.node.cluster = "validate"
    service = GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=_XDS))
    bootstrap.dynamic_resources.ads_config.CopyFrom(
        ApiConfigSource(
            api_type=ApiConfigSource.DELTA_GRPC,
            transport_api_version=ApiVersion.V3,
            grpc_services=[service],
        )
    )
    bodies = {x.name: x.body for unit in units for x in unit.resources if x.type_url == CLUSTER}
    static = bootstrap.static_resources
    static.clusters.extend(_internal(name) for name in (_XDS, EXT_PROC_CLUSTER))
    static.clusters.extend(Cluster.FromString(body) for _, body in sorted(bodies.items()))
    static.listeners.append(_listener(units, settings))
    return bootstrap


def _internal(name: str) -> Cluster:
    """A cluster of the real bootstrap, as far as others ask for its existence."""
    cluster = Cluster(name=name, type=Cluster.STATIC)
    options = HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].Pack(options)
    return cluster


def _listener(units: tuple[Unit, ...], settings: GatewaySettings) -> Listener:
    """The listener, its routes put in place: only those of the units."""
    branches = [unit.route[1] for unit in units if unit.route is not None]
    routes = RouteConfiguration.FromString(compile_routes(branches, settings).body)
    routes.validate_clusters.value = False  # a proxy's may be another unit's
    listener = Listener.FromString(compile_listener(settings).body)
    for network_filter in listener.filter_chains[0].filters:
        manager = hcm.HttpConnectionManager()
        network_filter.typed_config.Unpack(manager)
        manager.route_config.CopyFrom(routes)
        network_filter.typed_config.Pack(manager)
    return listener
