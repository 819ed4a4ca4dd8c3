"""Server-sent events, as OpenAI's API uses them: one `data:` line per event, `[DONE]` at the end.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

CONTENT_TYPE = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"


def encode(document: Mapping[str, Any]) -> bytes:
    """One event. JSON never holds a raw line break, so one `data:` line is always enough."""
    return b"data: " + json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
