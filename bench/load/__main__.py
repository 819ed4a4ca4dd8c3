"""Our own clients as programs: `python -m bench.load calls|streams < what.json`."""

from __future__ import annotations

import sys

from bench.load import _calls, _streams

{"calls": _calls.main, "streams": _streams.main}[sys.argv[1]]()
