"""Resources → Envoy's resources and ext_proc's plans. Pure functions; one file per concern."""

from control_plane.compile.compiler import Compiler
from control_plane.compile.model import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    PLAN,
    ROUTE,
    SECRET,
    TYPES,
    Aside,
    Compiled,
    Hold,
    Unit,
    XdsResource,
)
from control_plane.compile.settings import GatewaySettings

__all__ = [
    "CLUSTER",
    "ENDPOINT",
    "LISTENER",
    "PLAN",
    "ROUTE",
    "SECRET",
    "TYPES",
    "Aside",
    "Compiled",
    "Compiler",
    "GatewaySettings",
    "Hold",
    "Unit",
    "XdsResource",
]
