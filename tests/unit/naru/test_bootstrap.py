"""The bootstrap as a document, and as the real Envoy sees it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from naru.bootstrap import BootstrapSettings, bootstrap, read_template
from naru.up.binaries import find

SOCKETS = ("/run/a.sock", "/run/b.sock")


def cluster(document: dict, name: str) -> dict:  # type: ignore[type-arg]
    (found,) = [c for c in document["static_resources"]["clusters"] if c["name"] == name]
    return dict(found)


def endpoints(found: dict) -> list:  # type: ignore[type-arg]
    return [
        endpoint["endpoint"]["address"]
        for locality in found["load_assignment"]["endpoints"]
        for endpoint in locality["lb_endpoints"]
    ]


def test_every_place_is_filled() -> None:
    text = json.dumps(bootstrap(BootstrapSettings(ext_proc_sockets=SOCKETS)))
    assert "${" not in text
    assert "${" in read_template()


def test_who_and_where() -> None:
    document = bootstrap(BootstrapSettings("10.0.0.7", 7, SOCKETS, "::1", 8, "edge-1", "edge"))
    node = document["node"]
    assert (node["id"], node["cluster"]) == ("edge-1", "edge")
    admin = document["admin"]["address"]["socket_address"]
    assert admin == {"address": "::1", "port_value": 8}
    xds = cluster(document, "xds")
    assert xds["type"] == "STATIC"
    assert endpoints(xds) == [{"socket_address": {"address": "10.0.0.7", "port_value": 7}}]


def test_a_control_plane_by_name_is_resolved() -> None:
    document = bootstrap(BootstrapSettings(xds_host="control-plane.naru.svc"))
    assert cluster(document, "xds")["type"] == "STRICT_DNS"


@pytest.mark.parametrize("sockets", [(), SOCKETS[:1], SOCKETS])
def test_the_control_plane_is_told_of_each_worker(sockets: tuple[str, ...]) -> None:
    """It answers with them as the endpoints of a service that is this Envoy's own."""
    document = bootstrap(BootstrapSettings(ext_proc_sockets=sockets, node_id="edge"))
    told = document["node"]["metadata"]["naru"]["ext_proc"]
    assert told == [{"id": f"ext-proc-{i}", "path": path} for i, path in enumerate(sockets)]
    assert cluster(document, "ext_proc")["eds_cluster_config"]["service_name"] == "ext_proc@edge"


def test_workers_with_ids_of_their_own() -> None:
    settings = BootstrapSettings(ext_proc_sockets=SOCKETS, ext_proc_ids=("a", "b"))
    told = bootstrap(settings)["node"]["metadata"]["naru"]["ext_proc"]
    assert [worker["id"] for worker in told] == ["a", "b"]


def test_a_failover_is_the_second_source_of_all_that_the_first_gives() -> None:
    without = bootstrap(BootstrapSettings(ext_proc_sockets=SOCKETS))
    document = bootstrap(BootstrapSettings(ext_proc_sockets=SOCKETS, failover_socket="/run/f.sock"))
    assert endpoints(cluster(document, "xds_failover")) == [{"pipe": {"path": "/run/f.sock"}}]
    services = document["dynamic_resources"]["ads_config"]["grpc_services"]
    assert [service["envoy_grpc"]["cluster_name"] for service in services] == [
        "xds",
        "xds_failover",
    ]
    del document["layered_runtime"], services[1]
    document["static_resources"]["clusters"].remove(cluster(document, "xds_failover"))
    assert document == without


def test_the_admin_page_is_on_loopback_unless_told_otherwise() -> None:
    assert BootstrapSettings().admin_host == "127.0.0.1"


@pytest.mark.parametrize(
    "settings",
    [
        BootstrapSettings(ext_proc_sockets=SOCKETS),
        BootstrapSettings(xds_host="control-plane.naru.svc"),
        BootstrapSettings(ext_proc_sockets=SOCKETS, failover_socket="/run/f.sock"),
    ],
)
def test_envoy_takes_it(settings: BootstrapSettings, tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(yaml.safe_dump(bootstrap(settings)))
    command = [str(find("envoy")), "--mode", "validate", "-c", str(path), "-l", "error"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_template_that_is_no_mapping() -> None:
    with pytest.raises(ValueError, match="not a mapping"):
        bootstrap(BootstrapSettings(), "- a")
