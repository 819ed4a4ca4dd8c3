"""Golden pairs of the compiler: `tests/golden/in/CASE.yaml` → `out/CASE.{listeners,…,plans}.yaml`.

`python -m tests.support.golden` rewrites all outputs and removes those without an input;
a test compares them, so that any drift is seen in a diff.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.credential_injector.v3 import (  # noqa: F401  (its type is shown)
    credential_injector_pb2,
)
from envoy.extensions.filters.http.set_filter_state.v3 import (  # noqa: F401  (its type is shown)
    set_filter_state_pb2,
)
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from control_plane.compile import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    PLAN,
    ROUTE,
    SECRET,
    Compiled,
    Compiler,
    GatewaySettings,
    XdsResource,
)
from control_plane.resources import Key, Resource, check_graph, parse
from ext_proc.plan import decode

ROOT: Final = Path(__file__).parents[1] / "golden"
_FILES: Final = {
    "listeners": LISTENER,
    "routes": ROUTE,
    "clusters": CLUSTER,
    "endpoints": ENDPOINT,
    "secrets": SECRET,
    "plans": PLAN,
}
_MESSAGES: Final[dict[str, type[Message]]] = {
    LISTENER: Listener,
    ROUTE: RouteConfiguration,
    CLUSTER: Cluster,
    ENDPOINT: ClusterLoadAssignment,
}


def cases() -> list[str]:
    """Names of all cases."""
    return sorted(path.stem for path in (ROOT / "in").glob("*.yaml"))


def load(case: str) -> dict[Key, Resource]:
    """The resources of a case."""
    documents = filter(None, yaml.safe_load_all((ROOT / "in" / f"{case}.yaml").read_text()))
    resources = {resource.key: resource for resource in map(parse, documents)}
    problems = check_graph(resources)
    assert not problems, problems
    return resources


def compile_case(case: str) -> Compiled:
    """What the compiler makes of a case, with the default settings."""
    return Compiler(GatewaySettings()).compile(1, load(case))


def outputs(case: str) -> dict[Path, str]:
    """The files that belong to a case, and their text."""
    compiled = compile_case(case)
    return {
        ROOT / "out" / f"{case}.{name}.yaml": _text(compiled.resources[type_url].values())
        for name, type_url in _FILES.items()
    }


def _text(resources: Any) -> str:
    shown = [_shown(resource) for resource in sorted(resources, key=lambda r: r.name)]
    return yaml.safe_dump(shown, allow_unicode=True, sort_keys=True, width=100)


def _shown(resource: XdsResource) -> dict[str, Any]:
    head = {"name": resource.name, "version": resource.version}
    if resource.type_url == SECRET:
        return head  # its value belongs in no file
    if resource.type_url == PLAN:
        return head | {"plan": json.loads(_plan_json(resource))}
    message = _MESSAGES[resource.type_url].FromString(resource.body)
    return head | {"resource": json.loads(MessageToJson(message, preserving_proto_field_name=True))}


def _plan_json(resource: XdsResource) -> bytes:
    return msgspec.json.encode(decode(resource.body))


def _rewrite() -> Iterator[Path]:
    wanted = {path: text for case in cases() for path, text in outputs(case).items()}
    for path in (ROOT / "out").glob("*.yaml"):
        if path not in wanted:
            path.unlink()
            yield path
    for path, text in wanted.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            yield path


if __name__ == "__main__":
    for changed in _rewrite():
        print(changed.relative_to(ROOT))
