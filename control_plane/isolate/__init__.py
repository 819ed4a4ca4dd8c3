"""One bad resource never blocks the others: who is at fault is found, and set aside.

Deliberately not here: how a unit is compiled, or left out (`control_plane/compile`), and who tells
whom when (`control_plane/_loop.py`).
"""

from control_plane.isolate.isolation import Isolation
from control_plane.isolate.park import Park
from control_plane.isolate.validate import EnvoyValidator
from control_plane.isolate.warden import Warden

__all__ = ["EnvoyValidator", "Isolation", "Park", "Warden"]
