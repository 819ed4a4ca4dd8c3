"""TLS in the bootstrap: how an Envoy proves itself to the control plane, and knows it. Pure.

With a directory for them, certificate and authority come from small SDS files there, which Envoy
watches: a renewed certificate is used without a restart. Without one they are read at the start.
Specification: https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_SECRETS: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
CLUSTER: Final = "xds"
CERTIFICATE, AUTHORITY = "xds_client", "xds_ca"


@dataclass(frozen=True, slots=True)
class XdsTls:
    """PEM files, absolute.

    Attributes:
        ca: the authority of the control plane's certificate.
        name: what that certificate must be for: a host name or an IP address.
        sds_dir: where `sds_files` are; None: without them.
    """

    cert: str
    key: str
    ca: str
    name: str
    sds_dir: str | None = None


def with_tls(bootstrap: dict[str, Any], tls: XdsTls) -> dict[str, Any]:
    """The bootstrap with TLS in its cluster `xds`."""
    resources = bootstrap["static_resources"]
    clusters = [
        cluster | {"transport_socket": _socket(tls)} if cluster["name"] == CLUSTER else cluster
        for cluster in resources["clusters"]
    ]
    return bootstrap | {"static_resources": resources | {"clusters": clusters}}


def sds_files(tls: XdsTls) -> Mapping[str, Any]:
    """The SDS files by their names, JSON-ready."""
    certificate = _certificate(tls) | {"watched_directory": _directory(tls.cert)}
    authority = _authority(tls) | {"watched_directory": _directory(tls.ca)}
    return {
        f"{CERTIFICATE}.json": _secret(CERTIFICATE, {"tls_certificate": certificate}),
        f"{AUTHORITY}.json": _secret(AUTHORITY, {"validation_context": authority}),
    }


def _socket(tls: XdsTls) -> dict[str, Any]:
    context: dict[str, Any] = {"common_tls_context": _common(tls)}
    if not _is_ip(tls.name):
        context["sni"] = tls.name
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": f"{_SECRETS}UpstreamTlsContext"} | context,
    }


def _common(tls: XdsTls) -> dict[str, Any]:
    names = {"match_typed_subject_alt_names": [_expected(tls.name)]}
    common: dict[str, Any] = {"alpn_protocols": ["h2"]}
    if tls.sds_dir is None:
        return common | {
            "tls_certificates": [_certificate(tls)],
            "validation_context": _authority(tls) | names,
        }
    return common | {
        "tls_certificate_sds_secret_configs": [_source(tls.sds_dir, CERTIFICATE)],
        "combined_validation_context": {
            "default_validation_context": names,
            "validation_context_sds_secret_config": _source(tls.sds_dir, AUTHORITY),
        },
    }


def _certificate(tls: XdsTls) -> dict[str, Any]:
    return {"certificate_chain": {"filename": tls.cert}, "private_key": {"filename": tls.key}}


def _authority(tls: XdsTls) -> dict[str, Any]:
    return {"trusted_ca": {"filename": tls.ca}}


def _expected(name: str) -> dict[str, Any]:
    kind = "IP_ADDRESS" if _is_ip(name) else "DNS"
    return {"san_type": kind, "matcher": {"exact": name}}


def _source(directory: str, name: str) -> dict[str, Any]:
    path = str(Path(directory) / f"{name}.json")
    config = {"resource_api_version": "V3", "path_config_source": {"path": path}}
    return {"name": name, "sds_config": config}


def _secret(name: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"resources": [{"@type": f"{_SECRETS}Secret", "name": name} | content]}


def _directory(path: str) -> dict[str, str]:
    return {"path": str(Path(path).parent)}


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
