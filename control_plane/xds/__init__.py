"""The xDS server: ADS in both variants, the switch between revisions, the ledger of ACKs.

Deliberately not here: what the resources mean (`control_plane/compile`).
"""

from control_plane.xds.errors import BadRequest, XdsError
from control_plane.xds.gate import Gate
from control_plane.xds.hub import Hub
from control_plane.xds.ledger import Ledger, NodeRevision, NodeStatus, RevisionStatus
from control_plane.xds.report import Report, TypeStatus
from control_plane.xds.server import SERVER_OPTIONS
from control_plane.xds.subscription import Response
from control_plane.xds.switch import Refusal

__all__ = [
    "SERVER_OPTIONS",
    "BadRequest",
    "Gate",
    "Hub",
    "Ledger",
    "NodeRevision",
    "NodeStatus",
    "Refusal",
    "Report",
    "Response",
    "RevisionStatus",
    "TypeStatus",
    "XdsError",
]
