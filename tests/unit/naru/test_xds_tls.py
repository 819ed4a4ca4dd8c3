"""TLS in the bootstrap."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from naru._xds_tls import XdsTls, sds_files
from naru.bootstrap import BootstrapSettings, bootstrap

TLS = XdsTls("/tls/envoy.crt", "/tls/envoy.key", "/tls/ca.crt", "control-plane.example")


def context(tls: XdsTls) -> dict[str, Any]:
    document = bootstrap(BootstrapSettings(xds_tls=tls, ext_proc_sockets=("/s",)))
    clusters = {c["name"]: c for c in document["static_resources"]["clusters"]}
    assert "transport_socket" not in clusters["ext_proc"]
    found: dict[str, Any] = clusters["xds"]["transport_socket"]["typed_config"]
    return found


def test_without_files_of_its_own_certificates_are_read_at_the_start() -> None:
    common = context(TLS)["common_tls_context"]
    (certificate,) = common["tls_certificates"]
    assert certificate["private_key"] == {"filename": "/tls/envoy.key"}
    assert common["validation_context"]["trusted_ca"] == {"filename": "/tls/ca.crt"}


def test_the_control_planes_name_is_checked() -> None:
    for name, kind in (("control-plane.example", "DNS"), ("10.0.0.7", "IP_ADDRESS")):
        for directory in (None, "/etc/naru"):
            found = context(replace(TLS, name=name, sds_dir=directory))
            common = found["common_tls_context"]
            checks = (
                common.get("validation_context")
                or common["combined_validation_context"]["default_validation_context"]
            )
            (expected,) = checks["match_typed_subject_alt_names"]
            assert expected == {"san_type": kind, "matcher": {"exact": name}}
            assert found.get("sni") == (name if kind == "DNS" else None)


def test_with_a_directory_envoy_watches_for_new_ones() -> None:
    tls = replace(TLS, sds_dir="/etc/naru")
    (source,) = context(tls)["common_tls_context"]["tls_certificate_sds_secret_configs"]
    assert source["sds_config"]["path_config_source"]["path"] == "/etc/naru/xds_client.json"
    files = sds_files(tls)
    (secret,) = files["xds_client.json"]["resources"]
    assert secret["tls_certificate"]["watched_directory"] == {"path": "/tls"}
    (secret,) = files["xds_ca.json"]["resources"]
    assert secret["validation_context"]["trusted_ca"] == {"filename": "/tls/ca.crt"}
