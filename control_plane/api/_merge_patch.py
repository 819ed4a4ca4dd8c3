"""JSON merge patch. Specification: https://www.rfc-editor.org/rfc/rfc7396"""

from __future__ import annotations

from typing import Any


def merged(target: Any, patch: Any) -> Any:
    """`target` after `patch`: objects are merged, `null` removes, anything else replaces.

    Both are as deep as the body's parser allows at most, so the recursion is bounded.
    """
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result
