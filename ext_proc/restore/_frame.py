"""Server-sent events as bytes: where one ends, and its `data`.

Not a client: nothing is dispatched, and what is not `data` stays as it is.
https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_END: Final = re.compile(rb"(?>\r\n|\n|\r){2}")
_LAST: Final = re.compile(rb".*(?>\r\n|\n|\r){2}", re.DOTALL)
_LINE: Final = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")
_BOM: Final = b"\xef\xbb\xbf"


def ends_of_events(data: bytes | bytearray, start: int) -> list[int]:
    """The places after the empty lines that end events, looked for from `start` on."""
    if data.find(b"\r", start) >= 0:
        return [found.end() for found in _END.finditer(data, start)]
    ends = []
    while (found := data.find(b"\n\n", start)) >= 0:
        start = found + 2
        ends.append(start)
    return ends


def end_of_last_event(data: bytes) -> int:
    """The place after the last empty line; 0 if there is none."""
    found = _LAST.match(data)
    return 0 if found is None else found.end()


@dataclass(frozen=True, slots=True)
class Frame:
    """An event in parts, of which every other one is the value of a `data` line."""

    parts: list[bytes]
    name: bytes
    newline: bytes

    @property
    def data(self) -> bytes:
        return b"\n".join(self.parts[1::2])

    def replace(self, data: bytes) -> bytes:
        """The event with other data, in as many lines."""
        parts = self.parts.copy()
        parts[1::2] = data.split(b"\n")
        return b"".join(parts)


def parse(event: bytes) -> Frame | None:
    """The event in parts; None if it has no data."""
    parts = [b""]
    name = newline = b""
    at = len(_BOM) if event.startswith(_BOM) else 0
    parts[0] = event[:at]
    while at < len(event):
        line = _LINE.match(event, at)
        assert line is not None
        text, at = line[1], line.end()
        newline = newline or line[2]
        field, _, value = text.partition(b":")
        if field != b"data":
            parts[-1] += line[0]
            if field == b"event":
                name = value.removeprefix(b" ")
            continue
        value = value.removeprefix(b" ")
        parts[-1] += text[: len(text) - len(value)]
        parts += [value, line[2]]
    return Frame(parts, name, newline or b"\n") if len(parts) > 1 else None


def make(name: bytes, data: bytes, newline: bytes) -> bytes:
    """A new event."""
    first = b"event: " + name + newline if name else b""
    return first + b"data: " + data + newline * 2
