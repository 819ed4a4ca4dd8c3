"""Server-sent events from bytes: the `data` of each event, whole, however the bytes were cut.

https://html.spec.whatwg.org/multipage/server-sent-events.html, the part that model APIs use: other
fields than `data` are skipped. Pure.
"""

from __future__ import annotations

import codecs
import re

_LINE_END = re.compile(r"\r\n|\n|\r")


class EventDecoder:
    """Bytes in, the `data` of completed events out."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[str]:
        # Joined before it is split, since a chunk can end between "\r" and "\n".
        text = self._rest + self._utf8.decode(data)
        held = text.endswith("\r")
        *lines, self._rest = _LINE_END.split(text[:-1] if held else text)
        self._rest += "\r" * held
        return [event for line in lines for event in self._line(line)]

    def _line(self, line: str) -> list[str]:
        if not line:
            events = ["\n".join(self._data)] if self._data else []
            self._data.clear()
            return events
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
        return []
