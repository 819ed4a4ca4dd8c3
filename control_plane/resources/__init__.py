"""What users write: one file per kind. `parse` is the way in."""

from control_plane.resources._base import API_VERSION, Key, Metadata, Resource
from control_plane.resources._graph import check_graph, check_resource
from control_plane.resources._parse import KINDS, parse
from control_plane.resources.credential import Credential
from control_plane.resources.errors import (
    BrokenReferences,
    InUse,
    InvalidResource,
    Problem,
    ResourceError,
)
from control_plane.resources.proxy import Proxy
from control_plane.resources.template import Template
from control_plane.resources.upstream import Upstream

__all__ = [
    "API_VERSION",
    "KINDS",
    "BrokenReferences",
    "Credential",
    "InUse",
    "InvalidResource",
    "Key",
    "Metadata",
    "Problem",
    "Proxy",
    "Resource",
    "ResourceError",
    "Template",
    "Upstream",
    "check_graph",
    "check_resource",
    "parse",
]
