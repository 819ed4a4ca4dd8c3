"""The filters of prompt templates: those whose result can be much longer than their input, bounded.

minijinja's own have no limit on the size of what they return; these are counted by the meter, if
possible before they allocate. What has no use in a prompt and could do the same is removed, and so
are all global functions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from minijinja import Environment

from ext_proc._meter import Meter

REMOVED = (
    "attr", "batch", "chain", "e", "escape", "filesizeformat", "format", "indent", "pprint", "safe",
    "slice", "striptags", "urlencode", "wordwrap", "zip",
)  # fmt: skip


def install(environment: Environment, meter: Meter) -> None:
    """Leave `environment` with nothing but functions whose results are bounded."""
    for name in list(environment.globals):
        environment.remove_global(name)
    for name in REMOVED:
        environment.remove_filter(name)
    filters = _Filters(meter)
    environment.add_filter("replace", filters.replace)
    environment.add_filter("join", filters.join)
    environment.add_filter("tojson", filters.tojson)


class _Filters:
    def __init__(self, meter: Meter) -> None:
        self._work = meter.work

    def replace(self, value: object, old: object, new: object) -> str:
        text, before, after = str(value), str(old), str(new)
        self._work(len(text) + text.count(before) * (len(after) - len(before)))
        return text.replace(before, after)

    def join(
        self, values: Iterable[Any], separator: object = "", attribute: str | None = None
    ) -> str:
        items = [str(item if attribute is None else item[attribute]) for item in values]
        between = str(separator)
        self._work(sum(map(len, items)) + len(between) * len(items))
        return between.join(items)

    def tojson(self, value: object, indent: Any = None) -> str:
        """JSON. Unlike Jinja's it does not escape HTML, which would only cost tokens."""
        if isinstance(value, str):
            self._work(2 * len(value))
        width = min(int(indent), 8) if indent else None
        text = json.dumps(value, ensure_ascii=False, indent=width)
        self._work(len(text))
        return text
