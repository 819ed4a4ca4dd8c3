"""The control plane's errors as text for people.

The shape is `{"error": {"code", "message", "problems": [{"field", "message", "mend"}]}}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def describe_answer(status: int, content: bytes) -> str:
    """What the body of an error answer says, or only its status if it says nothing."""
    try:
        return describe(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"The control plane answered with status {status}."


def describe(error: Mapping[str, Any]) -> str:
    """Its message, then each problem with its field and mend."""
    message = str(error.get("message", "refused"))
    lines = [f"{message} ({error.get('code', 'unknown')})"]
    problems = error.get("problems") or []
    for problem in problems:
        line = f"{problem.get('field') or '-'}: {problem.get('message', '')}"
        if line not in message:  # the message of a single problem is that problem
            lines.append(f"  {line}")
        if mend := problem.get("mend"):
            lines.append(f"      → {mend}")
    return "\n".join(lines)
