"""Resources → Envoy's resources and ext_proc's plans. Pure functions; one file per concern.

The compiler itself is imported when it is first asked for: it takes 30 MB, and who only serves what
it made does not need it.
"""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from control_plane.compile.compiler import Compiler

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


def __getattr__(name: str) -> Any:
    """https://peps.python.org/pep-0562/"""
    if name != "Compiler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from control_plane.compile.compiler import Compiler

    return Compiler
