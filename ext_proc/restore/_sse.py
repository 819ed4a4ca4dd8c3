"""Restoring in server-sent events.

A model's text comes in pieces, one in each event, so a token may lie across events: each text is
scanned as one, however many others are between its pieces. The end of a piece that may be the
beginning of a token is held back and sent with the next piece of that text; if none comes, as an
event of its own in front of the one that ends the text. An event is sent when it is complete.

Which strings are pieces of which text is the dialects' business. All other strings are restored by
themselves. Events in which nothing can be found are not even parsed.
"""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

from ext_proc.errors import AnswerUnreadable
from ext_proc.restore import _anthropic, _openai_chat, _openai_responses
from ext_proc.restore._frame import Frame, end_of_last_event, ends_of_events, parse
from ext_proc.restore._json import Document, Path, every_string, only_string
from ext_proc.restore._model import Dialect, Key, Piece, Reading, has_ended
from ext_proc.restore._text import Edit, Scanner, apply, shifted
from ext_proc.restore._texts import Source, Texts
from ext_proc.restore._tokens import Tokens

DIALECTS: Final[tuple[Dialect, ...]] = (_openai_chat, _openai_responses, _anthropic)

MAX_EVENT: Final = 1 << 20
"""Bytes of one event."""

_EVERYTHING: Final[Key] = ()
_NO_JSON: Final = object()


class SseRestorer:
    """Restores the events of one answer."""

    __slots__ = ("_buffer", "_every", "_texts", "_tokens")

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._every = every_string(tokens)
        self._texts = Texts(tokens)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> bytes:
        """The next bytes of the answer; returns what can be sent on now.

        Raises:
            AnswerUnreadable: an event is too long, or too many texts are under way.
        """
        if self._buffer or len(data) > MAX_EVENT or not self._is_plain(data):
            return self._feed(data)
        if data.endswith(b"\n\n"):
            return data
        end = end_of_last_event(data)
        self._buffer += data[end:]
        return data[:end]

    def finish(self) -> bytes:
        """The answer has ended; returns the rest."""
        tail = bytes(self._buffer)
        self._buffer.clear()
        return self._event(tail, is_last=True) + self._texts.flush((_EVERYTHING,))

    def _feed(self, data: bytes) -> bytes:
        buffer = self._buffer
        search = max(0, len(buffer) - 3)  # an end may lie across
        buffer += data
        parts = []
        start = 0
        for end in ends_of_events(buffer, search):
            parts.append(self._event(bytes(buffer[start:end])))
            start = end
        del buffer[:start]
        _check_size(buffer)
        return b"".join(parts)

    def _is_plain(self, data: bytes) -> bool:
        """Whether there is nothing to do in these events."""
        return not self._texts and self._tokens.are_of_no_concern(data)

    def _event(self, event: bytes, is_last: bool = False) -> bytes:
        _check_size(event)
        body = event.lstrip(b"\r\n")
        if not body or self._is_plain(body):
            return event
        frame = parse(body)
        value: Any = _NO_JSON if frame is None else _load(frame.data)
        dialect, reading = _read(value)
        if is_last or (frame is not None and frame.data.strip() == b"[DONE]"):
            reading = Reading(reading.pieces, frozenset((_EVERYTHING,)))
        blank = event[: len(event) - len(body)]
        front = blank + self._texts.flush(reading.ended, {piece.key for piece in reading.pieces})
        if frame is None or value is _NO_JSON:
            return front + body
        source = None if dialect is None else Source.of(dialect, value, frame)
        return front + self._restore(body, frame, reading, source)

    def _restore(self, body: bytes, frame: Frame, reading: Reading, source: Source | None) -> bytes:
        scanners: dict[Key, Scanner] = {}
        if source is not None:
            for piece in reading.pieces:
                last = has_ended(piece.key, reading.ended)
                scanners[piece.path] = _Continued(self._texts, piece, source, last)
        edits = self._scan(frame.data, scanners)
        return frame.replace(apply(frame.data, edits, len(frame.data))) if edits else body

    def _scan(self, data: bytes, scanners: dict[Key, Scanner]) -> list[Edit]:
        if len(scanners) == 1:
            [(path, scanner)] = scanners.items()
            place = only_string(data, str(path[-1]))
            if place is not None and self._are_absent(data[: place[0]], data[place[1] :]):
                return shifted(scanner.scan(data[slice(*place)], True)[0], place[0])
        elif not scanners and self._tokens.are_absent(data):
            return []

        def choose(path: Path) -> Scanner:
            return scanners.get(tuple(path)) or self._every(path)

        return Document(choose).scan(data, final=True)[0]

    def _are_absent(self, *parts: bytes) -> bool:
        return all(self._tokens.are_absent(part) for part in parts)


class _Continued:
    """Scans a whole string as the next piece of its text."""

    __slots__ = ("_last", "_piece", "_source", "_texts")

    def __init__(self, texts: Texts, piece: Piece, source: Source, last: bool) -> None:
        self._texts = texts
        self._piece = piece
        self._source = source
        self._last = last

    def scan(self, raw: bytes, final: bool) -> tuple[list[Edit], int]:
        new = self._texts.feed(self._piece, raw, self._source, self._last)
        return [] if new == raw else [Edit(0, len(raw), new)], len(raw)


def _read(value: Any) -> tuple[Dialect | None, Reading]:
    if not isinstance(value, dict):
        return None, Reading()
    for dialect in DIALECTS:
        reading = dialect.read(value)
        if reading is not None:
            return dialect, reading
    is_error = "error" in value or value.get("type") == "error"
    return None, Reading(ended=frozenset((_EVERYTHING,)) if is_error else frozenset())


def _load(data: bytes) -> Any:
    """The JSON; `_NO_JSON` if it is none. Half a surrogate pair is taken, as clients do."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return _NO_JSON


def _check_size(event: bytes | bytearray) -> None:
    if len(event) > MAX_EVENT and len(event.strip(b"\r\n")) > MAX_EVENT:
        raise AnswerUnreadable
